"""How a CPU is best used, found by trying: how many lanes of how many cores each, how many pictures together.

On two cores the bundled model is fastest one picture at a time in ONNX Runtime, because the activations of a batch fall
out of the cache, and in batches of four in OpenVINO's bf16. No rule tells that beforehand; half a second of trying
does, on the machine and in the engine that will compute. Whatever is not clearly better than a lane for each core, and
pictures one by one, is not chosen.
"""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial

from app.core.model import Model
from app.loading import loader
from app.loading.serving import BatchLimit, Serving, Share
from app.repository.repository import ModelEntry

log = logging.getLogger(__name__)

SIZES = (1, 4, 8)
"""Batches that are tried. Larger ones have not been faster on any CPU yet, and make everybody in them wait."""
TRIED = 4
"""Pictures that each lane answers for one figure, or a batch of them where that is larger: both ways of a duel take
about as long, so that what else the machine does hits both alike.
"""
ROUNDS = 3
"""Two ways are tried in turns so often; the median counts. One round is enough where it shows nothing gained."""
ENOUGH_SECONDS = 0.5
"""After this time two ways are not tried another round: a slow model shows the difference in one."""
LONGEST_BATCH = 0.25
"""Seconds. A batch that would take longer is not tried: what it saves is not worth what its pictures wait."""
BETTER_BATCH = 0.95
"""A larger batch must take less than this part of a smaller one's time: it costs latency and memory."""
SMALL_NETWORK = 0.0003
"""Seconds. Where a network takes less for a picture, what batches do to its caches is nothing beside what handing them
over saves, which only a busy service shows: the largest that would be tried is taken untried.
"""
BETTER_SHARE = 0.90
"""Another share must take less than this part of the time of a lane for each core, in which decoding never waits."""

Clock = Callable[[], float]
"""Seconds since whenever; only differences count."""
Attempt = Callable[[int, int], float]
"""Answers so many pictures in each lane, in batches of a size, all lanes at once; returns the seconds for each picture.
"""


def calibrate(entry: ModelEntry, serving: Serving, clock: Clock = time.perf_counter) -> Serving:
    """`serving` with what is best for `entry` on this machine, by `clock`.

    Lanes are the same for all models; the first one that is tried decides them. Nothing is tried on a GPU, nor what
    settings say already. Raises what `loader.load` raises, and `EngineFailure` where a picture cannot be answered.
    """
    if serving.device.kind != "cpu" or not serving.calibrate:
        return serving
    started = clock()
    serving = _with_best_share(entry, serving, clock)
    batches = {
        (entry.name, version): limit
        for version in entry.versions
        if (limit := _batch_limit(entry, version, serving, clock)) is not None
    }
    log.info("tried in %.2f s what is fastest here for %s", clock() - started, entry.name)
    return replace(serving, batches={**serving.batches, **batches})


def _with_best_share(entry: ModelEntry, serving: Serving, clock: Clock) -> Serving:
    if not serving.shares:
        return serving
    version = list(entry.versions)[-1]
    best, best_part = Share(serving.lanes, serving.threads), BETTER_SHARE
    told = []
    with _attempts(entry, version, serving, 1, clock) as (_, usual):
        for share in serving.shares:
            with _attempts(entry, version, _shared(serving, share), 1, clock) as (_, other):
                part = _duel(partial(usual, 1, TRIED), partial(other, 1, TRIED), clock)
            told.append(f"{share} takes {part:.2f} of its time")
            if part < best_part:
                best, best_part = share, part
    log.info("lanes x cores of each: %s (to %d x %d, %s)", best, serving.lanes, serving.threads, ", ".join(told))
    return replace(_shared(serving, best), shares=())


def _shared(serving: Serving, share: Share) -> Serving:
    return replace(serving, lanes=share.lanes, threads=share.threads)


def _batch_limit(entry: ModelEntry, version: str, serving: Serving, clock: Clock) -> BatchLimit | None:
    """The size of batch in which all lanes together are fastest; None where there is nothing to choose."""
    most = min(entry.manifest.batching.max_size, serving.max_batch or SIZES[-1], SIZES[-1])
    if most == 1:
        return None
    best, *larger = [size for size in SIZES if size < most] + [most]
    told = []
    with _attempts(entry, version, serving, most, clock) as (model, attempt):
        if model.max_batch_size == 1:
            return None  # its graph allows no more
        if (network := _network_seconds(model, clock)) < SMALL_NETWORK:
            return BatchLimit(most, f"its network takes {network * 1e3:.2f} ms for a picture: batches cost nothing")
        alone = attempt(1, 1) * serving.lanes
        if alone * larger[0] > LONGEST_BATCH:  # or the moment was a noisy one
            alone = min(alone, attempt(1, 1) * serving.lanes)
        for size in larger:
            if alone * size > LONGEST_BATCH:
                told.append(f"{size} would take {alone * size:.1f} s together")
                break
            pictures = max(size, TRIED)
            part = _duel(partial(attempt, best, pictures), partial(attempt, size, pictures), clock)
            told.append(f"a picture in {size} takes {part:.2f} of one in {best}")
            if part >= BETTER_BATCH:
                break  # what a batch of this size loses in the caches, a larger one loses too
            best = size
    return BatchLimit(best, f"measured at the start: {', '.join(told)}")


def _network_seconds(model: Model, clock: Clock) -> float:
    """What the network alone takes for a picture: the least of three, so that a noisy moment counts for nothing."""
    row = model.specimen_rows(model.empty_batch()[:1])
    model.warm_up_batch(row)
    taken = []
    for _ in range(3):
        started = clock()
        model.compute(row)
        taken.append(clock() - started)
    return min(taken)


@contextmanager
def _attempts(
    entry: ModelEntry, version: str, serving: Serving, most: int, clock: Clock
) -> Iterator[tuple[Model, Attempt]]:
    """A model opened for trying, and how: its lanes answer specimens, from their bytes to their predictions."""
    tried = replace(serving, batches={(entry.name, version): BatchLimit(most, "tried")})
    model = loader.open_version(entry, version, entry.versions[version], tried)
    with closing(model), ThreadPoolExecutor(serving.lanes, "calibration") as lanes:
        rows = [model.empty_batch() for _ in range(serving.lanes)]
        warm: set[int] = set()

        def answer(size: int, times: int) -> None:
            def in_lane(lane: int) -> None:
                for _ in range(times):
                    model.answer_specimens(rows[lane][:size], lane)

            for _ in lanes.map(in_lane, range(serving.lanes)):
                pass

        def attempt(size: int, pictures: int) -> float:
            if size not in warm:
                model.warm_up_batch(rows[0][:size])
                answer(size, 1)  # what the lanes need of memory together is taken once, and the first decoding is slow
                warm.add(size)
            times = pictures // size
            started = clock()
            answer(size, times)
            return (clock() - started) / (serving.lanes * size * times)

        yield model, attempt


def _duel(usual: Callable[[], float], other: Callable[[], float], clock: Clock) -> float:
    """The part of `usual`'s time that `other` takes."""
    parts: list[float] = []
    ends = clock() + ENOUGH_SECONDS
    for _ in range(ROUNDS):
        seconds = usual()
        parts.append(other() / seconds)
        if parts[0] >= 1 or clock() > ends:
            break
    return sorted(parts)[len(parts) // 2]
