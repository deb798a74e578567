"""A guarded roll-out as a state machine: from one state and what was counted to the next. It asks no clock itself."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from app.core.guards import Figures, Guard, Verdict
from app.repository.route import WHOLE

_ROUNDING = 1e-9


class Phase(StrEnum):
    """Where a roll-out stands."""

    RUNNING = "running"
    DONE = "done"
    BACK = "back"
    """It went back to the shares that were before, by a guard or by hand."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`to` gets each of `steps` (percent, rising, the last being 100) after the other, each for `every` seconds at
    least and as long as a guard has too little to judge by. `before` are the shares that were there, adding up to 100;
    once somebody else has changed them, theirs.
    """

    model: str
    to: str
    steps: tuple[float, ...]
    every: float
    guards: tuple[Guard, ...]
    before: Mapping[str, float]

    def check(self) -> None:
        """Raises `ValueError` for steps that do not rise to 100, a time that is none, and where there is no way to go
        or to go back.
        """
        rising = all(one < other for one, other in zip(self.steps, self.steps[1:], strict=False))
        if not self.steps or not rising or self.steps[0] <= 0 or self.steps[-1] != WHOLE:
            raise ValueError("the steps must rise, from above 0 to 100 percent, such as 5,25,50,100")
        if not 0 < self.every < math.inf:
            raise ValueError("a step takes longer than no time")
        if self.before.get(self.to, 0) >= self.steps[0]:
            raise ValueError(f"version {self.to} has {self.before[self.to]:g} percent; the first step must be more")


@dataclass(frozen=True, slots=True)
class State:
    """A plan and how far it is: which step, `since` when (seconds since the epoch), and why it stands there."""

    plan: Plan
    since: float
    step: int = 0
    phase: Phase = Phase.RUNNING
    reason: str = ""

    @property
    def shares(self) -> dict[str, float]:
        """The shares that hold now; they add up to 100."""
        plan = self.plan
        if self.phase is Phase.BACK:
            return dict(plan.before)
        percent = WHOLE if self.phase is Phase.DONE else plan.steps[self.step]
        others = {version: share for version, share in plan.before.items() if version != plan.to}
        left = math.fsum(others.values())
        rest = {version: share * (WHOLE - percent) / left for version, share in others.items()} if left else {}
        return {**rest, plan.to: percent}


def begin(plan: Plan, now: float) -> State:
    """The first step, from `now` on; raises `ValueError` where the plan is none."""
    plan.check()
    return _entered(State(plan, now), 0, now)


def advance(state: State, now: float, figures: Figures) -> State:
    """The state at `now`; `figures` are what was counted since `state.since`.

    A guard that fails goes back at once. The next step comes when the time is over and every guard has passed; the last
    one ends it, as nothing is left to compare with.
    """
    if state.phase is not Phase.RUNNING:
        return state
    verdicts = [(guard, *guard.judge(figures)) for guard in state.plan.guards]
    if failed := _said(verdicts, Verdict.FAILED):
        return go_back(state, now, f"at {state.plan.steps[state.step]:g} %: {failed}")
    if now - state.since < state.plan.every - _ROUNDING:
        return replace(state, reason="")
    if waits := _said(verdicts, Verdict.INCONCLUSIVE):
        return replace(state, reason=f"waits: {waits}")
    return _entered(state, state.step + 1, now)


def go_back(state: State, now: float, reason: str) -> State:
    """Back to the shares that were before; what has ended stays as it is."""
    if state.phase is not Phase.RUNNING:
        return state
    return replace(state, phase=Phase.BACK, since=now, reason=reason)


def _entered(state: State, step: int, now: float) -> State:
    phase = Phase.DONE if step == len(state.plan.steps) - 1 else Phase.RUNNING
    return replace(state, step=step, since=now, phase=phase, reason="")


def _said(verdicts: Sequence[tuple[Guard, Verdict, str]], wanted: Verdict) -> str:
    return "; ".join(f"{guard.text}: {words}" for guard, verdict, words in verdicts if verdict is wanted)
