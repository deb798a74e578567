"""`roo-vision rollout`: have a running service roll a version out, look how far it is, or stop it."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import typer
from pydantic import ValidationError

from app.client import Client, Refused, ServiceError, Unreachable
from app.commands.common import FAILED, OK
from app.commands.running_service import client_of
from app.commands.summary import printable
from app.core.rollout import Phase
from app.settings import load_settings
from app.wire.releases import RolloutPlan, RolloutState

LOOK_SECONDS = 2.0
ANSWER_SECONDS = 30.0
PATIENCE_SECONDS = 60.0
"""How long a service that is watched may be away, as where it is restarted: its roll-out goes on."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Of which service and model; with `watch` until it ends."""

    url: str
    model: str
    watch: bool

    def begin(self, plan: RolloutPlan) -> int:
        """Begin one; returns the exit status."""
        return self._told(lambda client: self._begun(client, plan))

    def show(self) -> int:
        """Say how far it is."""
        return self._told(self._look)

    def stop(self) -> int:
        """Stop it."""
        return self._told(lambda client: client.stop_rollout(self.model), wanted=Phase.BACK)

    def _begun(self, client: Client, plan: RolloutPlan) -> RolloutState:
        state = client.begin_rollout(self.model, **plan.model_dump())
        typer.echo(
            f"roo-vision: this is the roll-out of {state.replica} alone; for several replicas there is --traffic-file",
            err=True,
        )
        return state

    def _look(self, client: Client) -> RolloutState:
        return client.rollout(self.model)

    def _told(self, ask: Callable[[Client], RolloutState], wanted: Phase = Phase.DONE) -> int:
        with client_of(self.url, load_settings(), ANSWER_SECONDS) as client:
            try:
                state = ask(client)
                typer.echo(words(state))
                while self.watch and state.phase == Phase.RUNNING:
                    time.sleep(LOOK_SECONDS)
                    before, state = state, self._again(client)
                    if worth_telling(state) != worth_telling(before):
                        typer.echo(words(state))
            except ServiceError as error:
                typer.echo(f"roo-vision: {error}", err=True)
                return FAILED
        return FAILED if state.phase == Phase.BACK and wanted != Phase.BACK else OK

    def _again(self, client: Client) -> RolloutState:
        """How far it is now, from a service that may be away for a while."""
        ends, told = time.monotonic() + PATIENCE_SECONDS, False
        while True:
            try:
                return self._look(client)
            except (Refused, Unreachable) as error:
                if (isinstance(error, Refused) and not error.retryable) or time.monotonic() > ends:
                    raise
                if not told:
                    typer.echo(f"roo-vision: {self.url} does not answer ({error}); it is asked again", err=True)
                told = True
            time.sleep(LOOK_SECONDS)


def worth_telling(state: RolloutState) -> tuple[str, int, bool]:
    """What it waits for is told once: the figures in the reason change with every picture."""
    return state.phase, state.step, bool(state.reason)


def words(state: RolloutState) -> str:
    """A state in one line."""
    told = ", ".join(f"version {version}: {share:g} %" for version, share in sorted(state.shares.items()))
    shares = told or "no shares"
    reason = f" ({printable(state.reason)})" if state.reason else ""
    return f"{state.model} to version {state.to}: {state.phase}, {shares}{reason}"


def run(asked: Asked, plan: RolloutPlan | None, *, stop: bool) -> None:
    """Begin what is planned, stop, or say how far it is, and end the program with its status."""
    if stop:
        sys.exit(asked.stop())
    sys.exit(asked.show() if plan is None else asked.begin(plan))


def planned(to: str | None, steps: str, every: str, guard: str) -> RolloutPlan | None:
    """What the options say; None where they name no version."""
    if to is None:
        return None
    guards = [each.strip() for each in guard.split(",") if each.strip()]
    try:
        percent = [float(step) for step in steps.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--steps {steps}: give percent with commas between, such as 5,25,50,100.") from None
    try:
        return RolloutPlan.model_validate({"to": to, "steps": percent, "every": every, "guards": guards})
    except ValidationError as error:
        (place, *_), words = error.errors()[0]["loc"], error.errors()[0]["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(f"--{place}: {words}.") from None
