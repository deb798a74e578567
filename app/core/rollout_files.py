"""Roll-outs on disk, so that a restart finds them: one JSON file a model."""

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.guards import read_guards
from app.core.rollout import Phase, Plan, State


@dataclass(frozen=True, slots=True)
class Saved:
    """A state, and the shares that the manifest had then: where it has others now, the state is of the past."""

    state: State
    declared: Mapping[str, float]


def make(folder: Path) -> None:
    """Have the folder there, to be written to; raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def write(folder: Path, saved: Saved) -> None:
    """Write or replace a model's file in one step; raises `OSError`."""
    content = to_plain(saved.state) | {"declared": dict(saved.declared)}
    name = saved.state.plan.model
    folder.mkdir(parents=True, exist_ok=True)
    unready = folder / f"{name}.json.part"
    unready.write_text(json.dumps(content, indent=1), "utf-8")
    unready.replace(folder / f"{name}.json")


def read(path: Path) -> Saved:
    """What `write` wrote; raises `OSError`, `ValueError`, `KeyError` or `TypeError` where that is not what is there."""
    said = json.loads(path.read_text("utf-8"))
    if not isinstance(said, dict):
        raise ValueError("not an object")
    state = from_plain(said)
    if state.plan.model != path.stem:
        raise ValueError("it is of another model")
    return Saved(state, _shares(said["declared"]))


def to_plain(state: State) -> dict[str, Any]:
    """A state as mappings, lists, texts and numbers, as files hold them."""
    plan = state.plan
    return {
        "model": plan.model,
        "to": plan.to,
        "steps": list(plan.steps),
        "every": plan.every,
        "guards": [guard.text for guard in plan.guards],
        "before": dict(plan.before),
        "since": state.since,
        "step": state.step,
        "phase": str(state.phase),
        "reason": state.reason,
    }


def from_plain(said: Mapping[str, Any]) -> State:
    """What `to_plain` gave; raises `ValueError`, `KeyError` or `TypeError` for anything else."""
    plan = Plan(
        str(said["model"]),
        str(said["to"]),
        tuple(map(float, said["steps"])),
        float(said["every"]),
        read_guards(said["guards"]),
        _shares(said["before"]),
    )
    state = State(plan, float(said["since"]), int(said["step"]), Phase(said["phase"]), str(said["reason"]))
    if not 0 <= state.step < len(plan.steps):
        raise ValueError("there is no such step")
    return state


def _shares(said: Mapping[str, float]) -> dict[str, float]:
    return {str(version): float(percent) for version, percent in said.items()}
