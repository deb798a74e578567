"""Roll-outs of a service: their shares hold, a restart finds them, and what somebody else does is respected."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.core import rollout_figures
from app.core.guards import LEAST, Counted, Figures
from app.core.registry import Registry
from app.core.rollout import Phase, Plan
from app.core.rollouts import Rollouts
from app.core.traffic import Traffic
from app.errors import InvalidRequest, ModelNotFound, StartupError
from app.repository.route import Route
from tests.fixtures.engines import MeanColourEngine
from tests.fixtures.service import ask, colour_model, running_core

STEPS = (10.0, 50.0, 100.0)
FINE = Counted(1000, 0, (0.1,), (1000, 0))


class World:
    """A registry with versions 1 and 2, a clock and what is counted, over any number of restarts."""

    def __init__(self, folder: Path | None, shares: dict[str, float] | None = None) -> None:
        self.folder = folder
        self.declared = Route(shares or {"1": 100.0}, stages={"candidate": "2"})
        self.now = 1000.0
        self.counted = Figures()
        self.versions = ("1", "2")

    def started(self, *, away: bool = False) -> "tuple[Registry, Rollouts]":
        traffic = Traffic()
        traffic.configure("colour", self.declared)
        registry = Registry("colour", traffic)
        for version in self.versions:
            registry.add(colour_model(MeanColourEngine(), version=version))
        registry.complete()
        if away:
            registry.put_away("colour")
        self.counted = Figures()
        rollouts = Rollouts(registry, self.folder, lambda _: self.counted, lambda: self.now)
        rollouts.resume()
        return registry, rollouts

    def pass_step(self, rollouts: Rollouts, new: Counted = FINE) -> None:
        """Count enough, let a step's time pass, and have it looked at."""
        counted, every = self.counted, 60.0
        self.counted = replace(counted, new=_plus(counted.new, new), old=_plus(counted.old, FINE))
        self.now += every
        rollouts.look()


def _plus(one: Counted, other: Counted) -> Counted:
    times = tuple(a + b for a, b in zip(one.times or (0, 0), other.times, strict=True))
    return Counted(one.pictures + other.pictures, one.failed + other.failed, other.buckets, times)


def begin(rollouts: Rollouts, **changes: Any) -> None:
    known = {"to": "2", "steps": STEPS, "every": 60.0, "guards": ["error_ratio<0.5%"]}
    rollouts.begin("colour", **(known | changes))


def test_each_step_is_judged_by_what_was_counted_in_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    registry, rollouts = world.started()
    begin(rollouts, to="candidate")
    assert registry.traffic.route("colour").shares == {"1": 90.0, "2": 10.0}
    world.pass_step(rollouts)
    assert registry.traffic.route("colour").shares == {"1": 50.0, "2": 50.0}
    world.now += 60
    rollouts.look()  # what the first step counted says nothing about the second
    assert "are too few" in rollouts.state("colour").reason
    world.pass_step(rollouts)
    assert registry.traffic.route("colour").shares == {"1": 0.0, "2": 100.0}
    assert rollouts.state("colour").phase is Phase.DONE
    assert registry.traffic.route("colour").stages == {"candidate": "2"}


def test_a_restart_begins_the_step_anew_and_keeps_what_has_ended(tmp_path: Path) -> None:
    world = World(tmp_path)
    _, rollouts = world.started()
    begin(rollouts)
    world.pass_step(rollouts)

    registry, rollouts = world.started()
    assert registry.traffic.route("colour").shares == {"1": 50.0, "2": 50.0}
    world.now += 59
    rollouts.look()
    assert (rollouts.state("colour").step, rollouts.state("colour").since) == (1, 1060.0)
    world.pass_step(rollouts, replace(FINE, failed=500))
    assert registry.traffic.route("colour").shares == {"1": 100.0}

    registry, rollouts = world.started()
    state = rollouts.state("colour")
    assert (state.phase, registry.traffic.route("colour").shares) == (Phase.BACK, {"1": 100.0})
    assert state.reason.startswith("at 50 %: error_ratio<0.5%: it is 0.5, the limit 0.005")
    begin(rollouts)


def test_a_manifest_that_was_changed_since_is_the_later_word(tmp_path: Path) -> None:
    world = World(tmp_path)
    _, rollouts = world.started()
    begin(rollouts)
    world.declared = Route({"1": 70.0, "2": 30.0})
    registry, rollouts = world.started()
    assert registry.traffic.route("colour").shares == {"1": 70.0, "2": 30.0}
    with pytest.raises(ModelNotFound, match="no roll-out of 'colour'"):
        rollouts.state("colour")


def test_a_version_that_goes_takes_the_roll_out_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    registry, rollouts = world.started()
    begin(rollouts)
    registry.replace("colour", [registry.get("colour", "1")])
    rollouts.look()
    assert rollouts.state("colour").reason == "version 2 is not served any more"
    assert registry.get("colour", key="r7").version == "1"
    world.versions = ("1",)
    world.started()


def test_shares_that_somebody_else_changes_stay(tmp_path: Path) -> None:
    registry, rollouts = World(tmp_path).started()
    begin(rollouts)
    registry.traffic.change("colour", Route({"1": 25.0, "2": 75.0}))
    rollouts.look()
    assert rollouts.state("colour").phase is Phase.BACK
    assert "by somebody else" in rollouts.state("colour").reason
    assert registry.traffic.route("colour").shares == {"1": 25.0, "2": 75.0}
    assert rollouts.state("colour").shares == {"1": 25.0, "2": 75.0}


def test_shares_that_a_manifest_changes_meanwhile_stay_after_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path)
    registry, rollouts = world.started()
    begin(rollouts)
    world.declared = Route({"1": 30.0, "2": 70.0})
    registry.traffic.configure("colour", world.declared)
    rollouts.look()
    registry, rollouts = world.started()
    assert registry.traffic.route("colour").shares == {"1": 30.0, "2": 70.0}
    assert rollouts.state("colour").phase is Phase.BACK


def test_a_manifest_that_says_no_shares_any_more_ends_it_though_the_model_goes_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    registry, rollouts = world.started()
    begin(rollouts)
    world.declared = Route()
    registry.traffic.configure("colour", world.declared)
    registry.replace("colour", [])
    rollouts.look()
    assert (rollouts.state("colour").phase, rollouts.state("colour").shares) == (Phase.BACK, {})
    registry, rollouts = world.started()
    assert registry.get("colour", key="r7").version == "2"


def test_a_model_that_is_put_away_for_memory_is_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    registry, rollouts = world.started()
    begin(rollouts)
    models = registry.put_away("colour")
    world.pass_step(rollouts)
    state = rollouts.state("colour")
    assert (state.phase, state.step, state.reason) == (Phase.RUNNING, 0, "waits: the model is not loaded now")
    registry.replace("colour", models)
    rollouts.look()
    assert registry.traffic.route("colour").shares == {"1": 50.0, "2": 50.0}


def test_a_restart_goes_on_with_a_model_that_is_loaded_when_it_is_asked_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    _, rollouts = world.started()
    begin(rollouts)
    registry, rollouts = world.started(away=True)
    rollouts.look()
    assert rollouts.state("colour").phase is Phase.RUNNING
    assert registry.traffic.route("colour").shares == {"1": 90.0, "2": 10.0}


def test_what_cannot_be_begun_or_stopped_is_said() -> None:
    registry, rollouts = World(None).started()
    for changes, words in (
        ({"steps": (50.0, 10.0)}, "cannot begin: the steps must rise"),
        ({"guards": ["speed<1x"]}, "there is no metric 'speed'"),
        ({"guards": ["agreement>0.9"]}, "give version 2 a share under `shadow` first"),
        ({"to": "1"}, "version 1 has 100 percent"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            begin(rollouts, **changes)
    with pytest.raises(ModelNotFound, match="has no version '3'"):
        begin(rollouts, to="3")
    assert registry.traffic.route("colour").shares == {"1": 100.0}
    begin(rollouts)
    with pytest.raises(InvalidRequest, match="A roll-out of colour to version 2 runs"):
        begin(rollouts)
    assert rollouts.stop("colour").reason == "stopped by hand"
    with pytest.raises(InvalidRequest, match="has ended: back"):
        rollouts.stop("colour")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": "colour"}'])
def test_a_file_that_cannot_be_read_stops_nothing(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "colour.json").write_text(content)
    registry, rollouts = World(tmp_path).started()
    assert rollouts.states() == []
    assert "is passed over" in caplog.text
    begin(rollouts)
    assert json.loads((tmp_path / "colour.json").read_text())["step"] == 0
    assert registry.traffic.route("colour").shares == {"1": 90.0, "2": 10.0}


async def test_the_figures_are_those_of_the_metrics() -> None:
    models = [colour_model(MeanColourEngine(), name="figures", version=version) for version in ("1", "2")]
    plan = Plan("figures", "2", (100.0,), 1.0, (), {"1": 100.0})
    with running_core(*models) as core:
        core.service.registry.traffic.change("figures", Route({"1": 50.0, "2": 50.0}))
        for _ in range(LEAST):
            await core.infer(ask((255, 0, 0)))
        with pytest.raises(Exception, match="picture"):
            await core.infer(ask((1, 2, 3), image=b"no picture"))
    found = rollout_figures.read(plan)
    assert found.new.pictures + found.old.pictures == LEAST + 1
    assert sum(found.new.times) + sum(found.old.times) == LEAST
    assert (found.new.failed, found.old.failed, found.compared) == (0, 0, 0)


def test_a_folder_that_is_none_is_one_sentence_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for wrong, reason in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "below", "Not a directory")):
        with pytest.raises(StartupError, match=rf"ROO_ROLLOUT_DIR={wrong} is no folder .* \({reason}\)"):
            Rollouts(Registry(), wrong)
