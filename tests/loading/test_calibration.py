import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from app.engines import catalog, devices
from app.engines.base import Array, EngineOptions
from app.errors import InvalidManifest
from app.loading import calibration, loader
from app.loading.serving import Serving, Share
from app.repository.repository import ModelEntry, read_entry
from app.settings import Settings
from tests.fixtures.engines import SIZE, MeanColourEngine
from tests.fixtures.models import add_box_model, add_colour_model
from tests.fixtures.service import CPU

TRYING = Serving(CPU, lanes=2, calibrate=True)
MOMENT = 0.05
"""Seconds of a clock that only computing moves; nothing is measured that a busy machine could change."""

Cost = Callable[[Array, EngineOptions], float]
"""Seconds by which a batch moves that clock. Lanes that do not hinder each other move it together: by a part each."""


class Machine:
    """A clock, and engines whose batches take of its time what `cost` says."""

    def __init__(self, cost: Cost) -> None:
        self.engines: list[MeanColourEngine] = []
        self._cost = cost
        self._now = 0.0
        self._lock = threading.Lock()

    def clock(self) -> float:
        """The seconds that computing has taken so far."""
        return self._now

    def open_engine(self, name: str, path: Path, options: EngineOptions) -> MeanColourEngine:
        """As `catalog.open_engine`."""
        self.engines.append(MeanColourEngine(before=lambda batch: self._take(self._cost(batch, options))))
        return self.engines[-1]

    def _take(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds

    def calibrated(self, entry: ModelEntry, serving: Serving = TRYING) -> Serving:
        """What is found on this machine."""
        return calibration.calibrate(entry, serving, self.clock)


Costing = Callable[[Cost], Machine]


def beside(seconds: float, options: EngineOptions) -> float:
    """What a batch of so many seconds moves the clock by where the lanes do not hinder each other."""
    return seconds / options.lanes


@pytest.fixture
def costing(monkeypatch: pytest.MonkeyPatch) -> Costing:
    """Has every engine take the given time."""

    def install(cost: Cost) -> Machine:
        machine = Machine(cost)
        monkeypatch.setattr(catalog, "open_engine", machine.open_engine)
        monkeypatch.setattr(calibration, "LONGEST_BATCH", 60.0)
        return machine

    return install


def entry_of(folder: Path, **batching: int) -> ModelEntry:
    return read_entry(add_colour_model(folder, size=SIZE, **({"batching": batching} if batching else {})))


def calibrated(entry: ModelEntry, serving: Serving = TRYING) -> Serving:
    """What is found with the real clock."""
    return calibration.calibrate(entry, serving)


def test_batches_that_cost_as_much_as_one_picture_are_large(tmp_path: Path, costing: Costing) -> None:
    machine = costing(lambda batch, options: beside(MOMENT, options))
    limit = machine.calibrated(entry_of(tmp_path, max_size=16)).batches["colour", "1"]
    assert limit.size == 8
    assert limit.reason == (
        "measured at the start: a picture in 4 takes 0.25 of one in 1, a picture in 8 takes 0.50 of one in 4"
    )


def test_batches_that_cost_more_than_their_pictures_are_not_formed(tmp_path: Path, costing: Costing) -> None:
    machine = costing(lambda batch, options: beside(MOMENT * len(batch) ** 2, options))
    assert machine.calibrated(entry_of(tmp_path, max_size=16)).batches["colour", "1"].size == 1
    assert max(machine.engines[0].batches) == 4, "what is slower in fours needs not be tried in eights"


def test_batches_of_a_network_that_takes_no_time_are_large_untried(tmp_path: Path, costing: Costing) -> None:
    machine = costing(lambda batch, options: len(batch) * calibration.SMALL_NETWORK / 2)
    limit = machine.calibrated(entry_of(tmp_path, max_size=16)).batches["colour", "1"]
    assert limit.size == 8
    assert limit.reason == "its network takes 0.15 ms for a picture: batches cost nothing"
    assert {size for engine in machine.engines for size in engine.batches} == {1}


def test_what_gains_too_little_is_not_taken(tmp_path: Path, costing: Costing) -> None:
    fixed = 0.06 * MOMENT  # a picture in four takes 0.955 of one alone
    machine = costing(lambda batch, options: beside(fixed + (MOMENT - fixed) * len(batch), options))
    assert machine.calibrated(entry_of(tmp_path, max_size=16)).batches["colour", "1"].size == 1


def test_the_cpus_limit_of_a_manifest_does_not_bound_what_is_tried(tmp_path: Path, costing: Costing) -> None:
    machine = costing(lambda batch, options: beside(MOMENT * len(batch), options))
    limit = machine.calibrated(entry_of(tmp_path, max_size=16, max_size_cpu=1)).batches["colour", "1"]
    assert limit.size == 1, "pictures that gain nothing together are computed one by one"
    assert max(machine.engines[0].batches) == 4


def test_batches_that_keep_everybody_waiting_are_not_tried(
    tmp_path: Path, costing: Costing, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = costing(lambda batch, options: beside(MOMENT, options))
    monkeypatch.setattr(calibration, "LONGEST_BATCH", 3 * MOMENT)
    limit = machine.calibrated(entry_of(tmp_path, max_size=16)).batches["colour", "1"]
    assert limit.size == 1
    assert limit.reason == "measured at the start: 4 would take 0.2 s together"
    assert set(machine.engines[0].batches) == {1}


def test_one_noisy_moment_does_not_keep_batches_from_being_tried(
    tmp_path: Path, costing: Costing, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = 2 * TRYING.lanes  # the first batch of each lane, and the first that is measured

    def cost(batch: Array, options: EngineOptions) -> float:
        nonlocal noisy
        noisy -= 1
        return beside(100 * MOMENT if noisy >= 0 else MOMENT, options)

    machine = costing(cost)
    monkeypatch.setattr(calibration, "LONGEST_BATCH", 10 * MOMENT)
    assert machine.calibrated(entry_of(tmp_path, max_size=16)).batches["colour", "1"].size == 8


def test_what_is_tried_is_closed_again(tmp_path: Path, costing: Costing) -> None:
    machine = costing(lambda batch, options: beside(MOMENT, options))
    machine.calibrated(entry_of(tmp_path), replace(TRYING, shares=(Share(1, 2),)))
    assert len(machine.engines) == 3
    assert all(engine.closed for engine in machine.engines)


def test_the_manifest_and_the_settings_bound_what_is_tried(tmp_path: Path, costing: Costing) -> None:
    machine = costing(lambda batch, options: beside(MOMENT, options))
    assert machine.calibrated(entry_of(tmp_path / "a", max_size=6)).batches["colour", "1"].size == 6
    assert machine.calibrated(entry_of(tmp_path / "b"), replace(TRYING, max_batch=3)).batches["colour", "1"].size == 3
    tried = len(machine.engines)
    assert not machine.calibrated(entry_of(tmp_path / "c", max_size=1)).batches
    assert not machine.calibrated(entry_of(tmp_path / "d"), replace(TRYING, max_batch=1)).batches
    assert len(machine.engines) == tried, "where nothing is left to choose, nothing is loaded"


def test_few_lanes_with_many_cores_where_lanes_are_in_each_others_way(tmp_path: Path, costing: Costing) -> None:
    machine = costing(lambda batch, options: 2 * MOMENT / options.threads)  # one after the other, whatever the lanes
    found = machine.calibrated(entry_of(tmp_path, max_size=1), replace(TRYING, shares=(Share(1, 2),)))
    assert Share(found.lanes, found.threads) == Share(1, 2)


def test_of_several_better_shares_the_best_is_taken(tmp_path: Path, costing: Costing) -> None:
    costs = {1: 4.0, 2: 1.0, 4: 2.0}
    machine = costing(lambda batch, options: MOMENT * costs[options.threads])
    serving = replace(TRYING, lanes=4, shares=(Share(2, 2), Share(1, 4)))
    found = machine.calibrated(entry_of(tmp_path, max_size=1), serving)
    assert Share(found.lanes, found.threads) == Share(2, 2)


def test_a_lane_for_each_core_where_they_are_not(tmp_path: Path, costing: Costing) -> None:
    machine = costing(lambda batch, options: beside(2 * MOMENT / options.threads, options))
    found = machine.calibrated(entry_of(tmp_path, max_size=1), replace(TRYING, shares=(Share(1, 2),)))
    assert Share(found.lanes, found.threads) == Share(2, 1)


def test_a_model_is_loaded_with_what_was_measured(tmp_path: Path) -> None:
    entry = read_entry(add_colour_model(tmp_path, batching={"max_size": 8, "max_size_cpu": 2}))
    serving = calibrated(entry)
    (model,) = loader.load(entry, serving)
    assert (model.max_batch_size, model.limit.reason) == serving.batches["colour", "1"]


def test_nothing_is_tried_on_a_gpu_or_where_it_is_switched_off(tmp_path: Path) -> None:
    entry = entry_of(tmp_path)
    gpu = replace(TRYING, device=devices.choose("auto", None, gpus=1), shares=(Share(1, 2),))
    off = replace(TRYING, calibrate=False, shares=(Share(1, 2),))
    assert calibrated(entry, gpu) is gpu
    assert calibrated(entry, off) is off


def test_a_model_that_does_not_fit_its_manifest_is_refused_as_ever(tmp_path: Path) -> None:
    entry = read_entry(add_box_model(tmp_path, detection={"decoder": "yolo"}))
    with pytest.raises(InvalidManifest, match=r"model\.yaml"):
        calibrated(entry)


@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        ({}, [Share(4, 1), Share(2, 2)]),
        ({"lanes": 3}, [Share(3, 1)]),
        ({"lanes": 2, "lane_threads": 2}, [Share(2, 2)]),
        ({"lane_threads": 2}, [Share(2, 2)]),
        ({"lane_threads": 8}, [Share(1, 8)]),
    ],
)
def test_what_the_settings_leave_to_choose(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, int], shares: list[Share]
) -> None:
    monkeypatch.setattr("app.loading.serving.usable_cores", lambda: 4)
    serving = Serving.of(Settings(device="cpu", **settings))  # type: ignore[arg-type]
    assert [Share(serving.lanes, serving.threads), *serving.shares] == shares
