"""The guarded roll-outs of a running service: begun, looked at every second, ended, and found again after a restart."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from app.core import rollout, rollout_figures, rollout_files
from app.core.guards import Figures, read_guards
from app.core.registry import Registry
from app.core.rollout import Phase, Plan, State
from app.core.rollout_files import Saved
from app.errors import InvalidRequest, Loading, ModelNotFound, StartupError
from app.repository.route import WHOLE, percents

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


class Rollouts:
    """One for each model at most. Safe to use from any thread; what changes one may wait for the disk that keeps it,
    and is not for the event loop.
    """

    def __init__(
        self,
        registry: Registry,
        folder: Path | None = None,
        figures: Callable[[Plan], Figures] = rollout_figures.read,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`folder` is where they are kept over a restart; without one a restart forgets them.

        Raises `StartupError` where nothing can be kept there.
        """
        if folder is not None:
            try:
                rollout_files.make(folder)
            except OSError as error:
                raise StartupError(
                    f"ROO_ROLLOUT_DIR={folder} is no folder that can be written to ({error.strerror}). Set it to one "
                    "that outlives the service, or leave it out: then a restart forgets roll-outs."
                ) from None
        self._registry = registry
        self._folder = folder
        self._figures = figures
        self._clock = clock
        self._lock = threading.RLock()
        self._states: dict[str, State] = {}
        self._before: dict[str, Figures] = {}

    def states(self) -> list[State]:
        """All that were begun since the start or found then, ended ones too."""
        return list(self._states.values())

    def state(self, model: str) -> State:
        """A model's; raises `ModelNotFound` where there was none, and `Loading` as long as that is not known."""
        if model not in self._states:
            if not self._registry.is_complete:
                raise Loading("The models are still being loaded. Try again in a moment.")
            raise ModelNotFound(f"There is no roll-out of {model!r} at this replica; each has its own.")
        return self._states[model]

    def begin(self, model: str, to: str, steps: Sequence[float], every: float, guards: Sequence[str]) -> State:
        """Give version `to` the first of the `steps`; each takes `every` seconds at least.

        Raises `ModelNotFound`, and `InvalidRequest` where one runs already or the plan is none.
        """
        with self._lock:
            self.refuse_while_running(model)
            try:
                state = rollout.begin(self._planned(model, to, steps, every, guards), self._clock())
            except ValueError as error:
                raise InvalidRequest(f"The roll-out cannot begin: {error}.") from None
            return self._enter(state)

    def _planned(self, model: str, to: str, steps: Sequence[float], every: float, guards: Sequence[str]) -> Plan:
        chosen = self._registry.get(model, to)
        plan = Plan(model, chosen.version, tuple(steps), every, read_guards(guards), self._of_now(model))
        compared = self._registry.traffic.route(model).shadow.get(plan.to)
        if any(guard.metric == "agreement" for guard in plan.guards) and not compared:
            raise InvalidRequest(
                f"The guard of agreement needs pictures that both versions computed: give version {plan.to} a share "
                f"under `shadow` first, such as {{{plan.to}: 10}}."
            )
        return plan

    def stop(self, model: str, reason: str = "stopped by hand") -> State:
        """Go back to the shares that were before; raises `ModelNotFound`, and `InvalidRequest` where it has ended."""
        with self._lock:
            state = self.state(model)
            if state.phase is not Phase.RUNNING:
                raise InvalidRequest(f"The roll-out of {model} has ended: {state.phase}.")
            return self._enter(rollout.go_back(state, self._clock(), reason))

    def refuse_while_running(self, model: str) -> None:
        """Raises `InvalidRequest` where the shares are a roll-out's to change."""
        state = self._states.get(model)
        if state is not None and state.phase is Phase.RUNNING:
            raise InvalidRequest(
                f"A roll-out of {model} to version {state.plan.to} runs; wait for its end, or stop it first."
            )

    def look(self) -> None:
        """See how all that run are doing, and go on or back."""
        with self._lock:
            for state in self.states():
                if state.phase is Phase.RUNNING:
                    self._look(state)

    async def run(self) -> None:
        """Look every second, for ever; what fails is told of and tried again."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except Exception:
                log.exception("failed to look at a roll-out")
            await asyncio.sleep(LOOK_SECONDS)

    def resume(self) -> None:
        """Go on with what the folder holds: one that ran begins its step anew, as nothing is counted any more; of one
        that ended the shares hold. Where the manifest's shares were changed since, they are the later word.
        """
        with self._lock:
            for path in sorted(self._folder.glob("*.json")) if self._folder is not None else ():
                try:
                    saved = rollout_files.read(path)
                except (OSError, ValueError, KeyError, TypeError) as error:
                    log.error("the roll-out in %s cannot be read, and is passed over: %s", path, error)
                    continue
                self._resume(saved)

    def _resume(self, saved: Saved) -> None:
        state, model = saved.state, saved.state.plan.model
        if dict(self._registry.traffic.declared(model).shares) != dict(saved.declared):
            return
        if state.phase is Phase.RUNNING:
            state = rollout.State(state.plan, self._clock(), state.step)
        self._enter(self._served(state))

    def _look(self, state: State) -> None:
        model = state.plan.model
        if (shares := dict(self._registry.traffic.route(model).shares)) != state.shares:
            state = replace(state, plan=replace(state.plan, before=shares))  # what a restart must find, too
            self._note(rollout.go_back(state, self._clock(), "the shares were changed by somebody else, and stay so"))
            return
        if model in self._registry.away:
            self._states[model] = replace(state, reason="waits: the model is not loaded now")
            return
        before = self._before.setdefault(model, Figures())
        now = self._figures(state.plan) - before
        following = rollout.advance(self._served(state), self._clock(), now)
        if (following.phase, following.step) != (state.phase, state.step):
            self._enter(following)
        elif following.reason != state.reason:
            self._states[model] = following

    def _served(self, state: State) -> State:
        """Back, where one of its versions is not served any more; a model that is away comes back with its versions."""
        if state.plan.model in self._registry.away:
            return state
        served = {each.version for each in self._registry if each.name == state.plan.model}
        missing = {state.plan.to, *state.plan.before} - served
        if not missing:
            return state
        return rollout.go_back(state, self._clock(), f"version {min(missing)} is not served any more")

    def _enter(self, state: State) -> State:
        model, traffic = state.plan.model, self._registry.traffic
        traffic.change(model, traffic.route(model).with_shares(state.shares))
        self._before[model] = self._figures(state.plan)
        self._note(state)
        return state

    def _note(self, state: State) -> None:
        plan = state.plan
        self._states[plan.model] = state
        level = logging.WARNING if state.phase is Phase.BACK else logging.INFO
        shares = percents(self._registry.traffic.route(plan.model).shares)
        words = f": {state.reason}" if state.reason else ""
        log.log(level, "roll-out of %s to version %s: %s, shares %s%s", plan.model, plan.to, state.phase, shares, words)
        if self._folder is not None:
            try:
                rollout_files.write(self._folder, Saved(state, self._registry.traffic.declared(plan.model).shares))
            except OSError as error:
                log.error("the roll-out of %s cannot be kept, and a restart would forget it: %s", plan.model, error)

    def _of_now(self, model: str) -> dict[str, float]:
        shares = self._registry.traffic.route(model).shares
        return dict(shares) if shares else {self._registry.get(model).version: WHOLE}
