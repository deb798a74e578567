"""Roll-outs on disk, so that a restart finds them: one JSON file a model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.core.guards import read_guards
from app.core.rollout import Phase, Plan, State


@dataclass(frozen=True, slots=True)
class Saved:
    """A state, and the shares that the manifest had then: where it has others now, the state is of the past."""

    state: State
    declared: Mapping[str, float]


def write(folder: Path, saved: Saved) -> None:
    """Write or replace a model's file in one step; raises `OSError`."""
    state, plan = saved.state, saved.state.plan
    content = {
        "model": plan.model,
        "to": plan.to,
        "steps": plan.steps,
        "every": plan.every,
        "guards": [guard.text for guard in plan.guards],
        "before": dict(plan.before),
        "since": state.since,
        "step": state.step,
        "phase": state.phase,
        "reason": state.reason,
        "declared": dict(saved.declared),
    }
    folder.mkdir(parents=True, exist_ok=True)
    unready = folder / f"{plan.model}.json.part"
    unready.write_text(json.dumps(content, indent=1), "utf-8")
    unready.replace(folder / f"{plan.model}.json")


def read(path: Path) -> Saved:
    """What `write` wrote; raises `OSError`, `ValueError` or `KeyError` where that is not what is there."""
    said = json.loads(path.read_text("utf-8"))
    if not isinstance(said, dict):
        raise ValueError("not an object")
    plan = Plan(
        str(said["model"]),
        str(said["to"]),
        tuple(map(float, said["steps"])),
        float(said["every"]),
        read_guards(said["guards"]),
        _shares(said["before"]),
    )
    state = State(plan, float(said["since"]), int(said["step"]), Phase(said["phase"]), str(said["reason"]))
    if plan.model != path.stem or not 0 <= state.step < len(plan.steps):
        raise ValueError("its model or its step is not there")
    return Saved(state, _shares(said["declared"]))


def _shares(said: Mapping[str, float]) -> dict[str, float]:
    return {str(version): float(percent) for version, percent in said.items()}
