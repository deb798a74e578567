"""`roo-vision rollout --traffic-file`: one roll-out for all replicas, by the file that says their shares.

The file also keeps how far it is, so that this command may be ended and given again, on another machine too.
"""

import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import typer

from app.client import InvalidRequest, ModelInfo, ServiceError
from app.commands.common import FAILED, OK
from app.commands.replicas import Replicas, of_all, shares_of
from app.commands.rollouts import words, worth_telling
from app.core import rollout
from app.core.guards import Figures, read_guards
from app.core.rollout import Phase, Plan, State
from app.core.rollout_files import from_plain, to_plain
from app.errors import InvalidManifest, StartupError
from app.repository import traffic_file
from app.repository.route import percents
from app.settings import load_settings
from app.wire.releases import RolloutPlan, to_rollout

LOOK_SECONDS = 2.0
QUIET_SECONDS = 30.0
"""How long replicas take to follow without a word about it."""
PATIENCE_SECONDS = 300.0
"""How long replicas may take to follow the last change: a ConfigMap's file comes to them within two minutes."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Of which model, by which file, at which replicas; `apply` is a shell's command that brings the file to them."""

    model: str
    file: Path
    urls: tuple[str, ...]
    apply: str | None


def run(shared: Shared, plan: RolloutPlan | None, *, stop: bool) -> NoReturn:
    """Do what the options say, and end the program with its status."""
    running = _Running(shared)
    try:
        if stop:
            sys.exit(running.stop())
        sys.exit(running.show() if plan is None else running.follow(plan))
    except ServiceError as error:
        typer.echo(f"roo-vision: {error}", err=True)
    except OSError as error:
        typer.echo(f"roo-vision: {shared.file} cannot be written: {error}", err=True)
    except KeyboardInterrupt:
        typer.echo(
            f"roo-vision: ended; the shares stay as {shared.file} says, and nobody looks at the guards. The same "
            "command goes on, --stop goes back.",
            err=True,
        )
    sys.exit(FAILED)


class _Running:
    """A roll-out while this command looks after it."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._replicas = Replicas(shared.model, shared.urls, load_settings())
        self._applied = True
        self._settled = False
        self._published = 0.0
        self._before = Figures()

    def show(self) -> int:
        """Say how far the file says it is."""
        state = self._kept()
        if state is None:
            raise InvalidRequest(f"{self._shared.file} tells of no roll-out of {self._shared.model}.")
        typer.echo(words(to_rollout(state)))
        return FAILED if state.phase is Phase.BACK else OK

    def stop(self) -> int:
        """Go back, and wait until all have done so."""
        state = self._kept()
        if state is None or state.phase is not Phase.RUNNING:
            raise InvalidRequest(f"{self._shared.file} tells of no roll-out of {self._shared.model} that runs.")
        state = self._publish(rollout.go_back(state, time.time(), "stopped by hand"))
        return OK if self._all_follow(state) else FAILED

    def follow(self, wanted: RolloutPlan) -> int:
        """Begin it, or go on with the one that the file tells of, until it ends."""
        state = self._resumed(wanted) or self._begun(wanted)
        self._replicas.look(state.plan)  # what is counted from here on is judged
        self._publish(state)
        trouble = ""
        while state.phase is Phase.RUNNING:
            time.sleep(LOOK_SECONDS)
            try:
                if not self._is_ours(state):
                    typer.echo(f"roo-vision: {self._shared.file} was changed by somebody else, and stays so", err=True)
                    return FAILED
                state, trouble = self._looked(state), ""
            except (OSError, InvalidManifest) as error:  # a volume that is away: the guards are looked at again
                if str(error) != trouble:
                    typer.echo(f"roo-vision: {error}; it is tried again", err=True)
                trouble = str(error)
        return OK if self._all_follow(state) and state.phase is Phase.DONE else FAILED

    def _begun(self, wanted: RolloutPlan) -> State:
        infos = self._replicas.infos()
        before = of_all(infos)
        to = next(iter(infos.values())).stages.get(wanted.to, wanted.to)
        try:
            guards = read_guards(wanted.guards)
            plan = Plan(self._shared.model, to, tuple(wanted.steps), wanted.every, guards, before)
            state = rollout.begin(plan, time.time())
        except ValueError as error:
            raise InvalidRequest(f"The roll-out cannot begin: {error}.") from None
        _check(infos, plan)
        return state

    def _resumed(self, wanted: RolloutPlan) -> State | None:
        state = self._kept()
        if state is None or state.phase is not Phase.RUNNING:
            return None
        if wanted.to.isdecimal() and wanted.to != state.plan.to:
            raise InvalidRequest(f"{self._shared.file}: a roll-out to version {state.plan.to} runs; stop it first.")
        typer.echo(f"goes on with the roll-out that {self._shared.file} tells of, by its own steps and guards")
        return State(state.plan, time.time(), state.step)

    def _looked(self, state: State) -> State:
        """What becomes of it now. A guard that fails takes it back at once; a step is over when all have had it."""
        self._apply()
        infos, counted = self._replicas.look(state.plan)
        now, late = time.time(), self._late(infos, state)
        self._settled = self._settled or not late
        if not self._settled:
            state = replace(state, since=now)
        following = rollout.advance(state, now, counted - self._before)
        if late and following.phase is not Phase.BACK:
            waited = time.monotonic() - self._published
            following = replace(state, reason=f"waits: {late[0]}" if waited > QUIET_SECONDS else "")
        if (following.phase, following.step) != (state.phase, state.step):
            self._before = counted
            return self._publish(following)
        if worth_telling(to_rollout(following)) != worth_telling(to_rollout(state)):
            typer.echo(words(to_rollout(following)))
        return following

    def _late(self, infos: dict[str, ModelInfo], state: State) -> list[str]:
        """Who does not have these shares now, or does not answer, in words."""
        others = {url: shares for url, info in infos.items() if (shares := shares_of(info)) != state.shares}
        told = [
            f"{url} still has {percents(shares)}; it follows where it reads this file, with ROO_REPOSITORY_POLL and "
            "without ROO_TRAFFIC"
            for url, shares in others.items()
        ]
        away = [*self._replicas.trouble, *([] if self._applied else ["--apply failed"])]
        return away + told

    def _all_follow(self, state: State) -> bool:
        """Wait until every replica that answers has the last shares; says who has not."""
        ends = time.monotonic() + PATIENCE_SECONDS
        while late := self._late(self._replicas.look(state.plan)[0], state):
            if time.monotonic() > ends:
                typer.echo(f"roo-vision: not all have followed: {'; '.join(late)}", err=True)
                return False
            time.sleep(LOOK_SECONDS)
            self._apply()
        return True

    def _publish(self, state: State) -> State:
        traffic_file.write(self._shared.file, _said(state))
        self._applied, self._settled, self._published = self._shared.apply is None, False, time.monotonic()
        self._apply()
        typer.echo(words(to_rollout(state)))
        return state

    def _apply(self) -> None:
        """Run the command that brings the file to the replicas, again and again until it has succeeded."""
        if not self._applied:
            assert self._shared.apply is not None
            self._applied = (
                subprocess.run(self._shared.apply, shell=True, stdout=sys.stderr, check=False).returncode == 0
            )

    def _kept(self) -> State | None:
        file = self._shared.file
        said = traffic_file.read(file).rollout if file.exists() else {}
        if not said:
            return None
        try:
            state = from_plain(said)
        except (ValueError, KeyError, TypeError) as error:
            raise StartupError(f"{file}: `rollout` cannot be read ({error!r}); remove it to begin anew.") from None
        if state.plan.model != self._shared.model:
            raise StartupError(f"{file} tells of a roll-out of {state.plan.model}, not of {self._shared.model}.")
        return state

    def _is_ours(self, state: State) -> bool:
        found, said = traffic_file.read(self._shared.file), to_plain(state)
        same = all(found.rollout.get(name) == said[name] for name in ("to", "step", "phase"))
        return same and found.traffic == state.shares


def _said(state: State) -> dict[str, Any]:
    return {"traffic": state.shares, traffic_file.ROLLOUT: to_plain(state)}


def _check(infos: dict[str, ModelInfo], plan: Plan) -> None:
    """Raises `InvalidRequest` where a replica cannot follow."""
    for url, info in infos.items():
        served = [each.version for each in info.versions]
        if missing := {plan.to, *plan.before}.difference(served):
            raise InvalidRequest(f"{url} does not serve version {min(missing)} of {plan.model}: {', '.join(served)}.")
        if any(guard.metric == "agreement" for guard in plan.guards) and not info.shadow.get(plan.to):
            raise InvalidRequest(
                f"The guard of agreement needs pictures that both versions computed: give version {plan.to} a share "
                f"under `shadow` first, such as {{{plan.to}: 10}}; {url} has none."
            )
