"""Shadowing: a version computes a share of the real requests as well, and its answers are compared, never sent.

An answer goes out first; only then, and where there is room, is its picture computed once more, behind everything else
that robots want. What is held for that is let go as soon as a request needs the room.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from app.core.admission import Admission, Permit
from app.core.executor import PictureBatcher
from app.core.model import Model
from app.core.registry import Registry
from app.core.request import AdmittedRequest, Answer, Deadline, Flow, InferenceResult, Priority, Timings
from app.core.traffic import chance
from app.errors import DeadlineExceeded, Draining, Loading, ModelNotFound, Overloaded, RequestError
from app.telemetry import metrics
from app.vision.agreement import Agreement, compare

log = logging.getLogger(__name__)

SOURCE = "shadow"
MOST_HELD = 16
"""Pictures that are held for candidates at once, while nothing waits. While anything does it is one: a service that is
always busy learns something as well, and no more than one picture is before anybody.
"""
BYTES_SHARE, BUSY_SHARE = 0.125, 0.5
"""Of the bytes that may be in flight: what candidates may hold, and what is too much altogether for them to begin."""
PATIENCE = 30.0
"""Seconds after which a candidate that got no lane is passed over."""
_FLOW = Flow(SOURCE, 0.05)
"""A twentieth of the lanes' time that robots have, while these wait; with less, a long backlog would teach nothing."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A picture, encoded, that two versions were asked about: what was sent, and what the candidate said."""

    image: bytes
    media_type: str
    sent: InferenceResult
    candidate: InferenceResult
    agreement: Agreement

    @property
    def share(self) -> float:
        """How far they agree, 0 to 1: also where both found nothing."""
        return self.agreement.share if self.agreement.compared else 1.0


Keep = Callable[[Difference], None]
"""Keeps what is worth looking at; called in a thread."""


@dataclass(eq=False, slots=True)
class _Held:
    """A picture that is held for a candidate, and what will have become of it if nothing else does."""

    permit: Permit
    size: int
    labels: tuple[str, str, str]
    outcome: str = "dropped"
    task: "asyncio.Task[None] | None" = None


class Shadows:
    """Offers pictures to candidates. Belongs to an event loop; `let_go` may be called from any thread."""

    def __init__(
        self, registry: Registry, batcher: PictureBatcher, admission: Admission, keep: Keep | None = None
    ) -> None:
        """`keep` is given every comparison."""
        self._registry = registry
        self._batcher = batcher
        self._admission = admission
        self._keep = keep
        self._closed = False
        self._lock = threading.Lock()
        self._held: set[_Held] = set()
        self._bytes = 0
        self._most_bytes = int(admission.limit.image_bytes * BYTES_SHARE)
        admission.make_room = self.let_go

    @property
    def held(self) -> int:
        """Pictures that are held for candidates now."""
        return len(self._held)

    def offer(self, admitted: AdmittedRequest, result: InferenceResult) -> None:
        """Perhaps have candidates compute a picture that was answered. Returns at once; raises nothing."""
        if self._closed:
            return
        for version, percent in self._registry.traffic.route(result.model).shadow.items():
            if version != result.version and _is_chosen(result, version, percent):
                self._begin(admitted, result, version)

    def let_go(self) -> None:
        """Give back all that is held: a request needs the room."""
        for held in list(self._held):
            self._give_back(held)
            if held.task is not None:
                held.task.get_loop().call_soon_threadsafe(held.task.cancel)

    def close(self) -> None:
        """Give back all, and take nothing more."""
        self._closed = True
        self.let_go()

    def _begin(self, admitted: AdmittedRequest, result: InferenceResult, version: str) -> None:
        size, admission = len(admitted.request.image), self._admission
        most = 1 if self._batcher.waiting() else MOST_HELD
        taken = admission.used.image_bytes + size
        full = self._bytes + size > self._most_bytes or taken > admission.limit.image_bytes * BUSY_SHARE
        permit, labels = Permit(admission, Priority.BULK, ""), _pair(result, version)
        try:
            if len(self._held) >= most or full:
                raise Overloaded("There is no room for a candidate.")
            permit.take_bytes(size)
        except Overloaded:
            metrics.shadows.add(1, (*labels, "dropped"))
            return
        held = _Held(permit, size, labels)
        with self._lock:
            self._held.add(held)
            self._bytes += size
        held.task = asyncio.create_task(self._compare(admitted, result, version, held))
        held.task.add_done_callback(lambda _: self._end(held))

    async def _compare(self, admitted: AdmittedRequest, result: InferenceResult, version: str, held: _Held) -> None:
        try:
            with self._registry.lease(result.model, version) as candidate:
                difference = await self._ask(candidate, admitted, result)
            _record(difference)
            held.outcome = "compared"
            if self._keep is not None:
                await asyncio.to_thread(self._keep, difference)
        except (DeadlineExceeded, Draining, Loading, ModelNotFound, Overloaded):
            pass
        except RequestError:  # the lane has told of it
            held.outcome = "failed"
        except Exception:
            held.outcome = "failed"
            log.exception("failed to compare version %s of %s with %s", version, result.model, result.version)

    def _end(self, held: _Held) -> None:
        self._give_back(held)
        metrics.shadows.add(1, (*held.labels, held.outcome))

    async def _ask(self, candidate: Model, admitted: AdmittedRequest, sent: InferenceResult) -> Difference:
        item = replace(admitted, request=replace(admitted.request, source=SOURCE), trace=None)
        deadline = Deadline.after(PATIENCE)
        answer: Answer = await asyncio.wrap_future(
            self._batcher.submit(candidate, item, Priority.BULK, deadline, _FLOW)
        )
        agreement = await asyncio.to_thread(compare, sent.prediction, answer.prediction)
        answered = replace(
            sent,
            version=candidate.version,
            prediction=answer.prediction,
            batch_size=answer.batch_size,
            timings=answer.timings,
            total=answer.ended_at - answer.queued_at,
        )
        return Difference(admitted.request.image, admitted.header.media_type, sent, answered, agreement)

    def _give_back(self, held: _Held) -> None:
        with self._lock:
            if held not in self._held:
                return
            self._held.remove(held)
            self._bytes -= held.size
        held.permit.give_back_bytes(held.size)  # not under our lock: `let_go` comes with the admission's


def _is_chosen(result: InferenceResult, version: str, percent: float) -> bool:
    return chance(f"{result.model}\0{SOURCE}\0{version}", result.request_id) * 100 < percent


def _pair(result: InferenceResult, version: str) -> tuple[str, str, str]:
    return result.model, version, result.version


def _record(difference: Difference) -> None:
    sent, candidate, found = difference.sent, difference.candidate, difference.agreement
    pair = _pair(sent, candidate.version)
    metrics.shadow_agreement.record(difference.share, pair)
    for kind, count in found.kinds.items():
        metrics.shadow_things.add(count, (*pair, kind))
    for shift in found.shifts:
        metrics.shadow_shift.record(shift, pair)
    metrics.shadow_seconds.record(_work(sent.timings, sent.batch_size), (*pair, "sent"))
    metrics.shadow_seconds.record(_work(candidate.timings, candidate.batch_size), (*pair, "candidate"))


def _work(timings: Timings, batch: int) -> float:
    """Lane time of one picture: without its waiting, and its part of the batch."""
    return timings.decode + timings.prepare + timings.compute / batch + timings.finish
