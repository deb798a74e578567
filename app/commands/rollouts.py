"""`roo-vision rollout`: have a running service roll a version out, look how far it is, or stop it."""

import sys
import time
from dataclasses import dataclass
from urllib.parse import quote

import httpx
import typer
from pydantic import ValidationError

from app.client import asking
from app.client.errors import Refused, ServiceError, refusal
from app.commands.common import FAILED, OK
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
        return self._told("POST", plan.model_dump_json().encode())

    def show(self) -> int:
        """Say how far it is."""
        return self._told("GET")

    def stop(self) -> int:
        """Stop it."""
        return self._told("DELETE")

    def _told(self, method: str, content: bytes | None = None) -> int:
        secret = load_settings().api_key
        headers = asking.headers(secret.get_secret_value() if secret else None, None)
        with httpx.Client(base_url=asking.address(self.url), headers=headers, timeout=ANSWER_SECONDS) as client:
            try:
                state = self._ask(client, method, content)
                typer.echo(words(state))
                while self.watch and state.phase == Phase.RUNNING:
                    time.sleep(LOOK_SECONDS)
                    before, state = state, self._again(client)
                    if _worth_telling(state) != _worth_telling(before):
                        typer.echo(words(state))
            except ServiceError as error:
                typer.echo(f"roo-vision: {error}", err=True)
                return FAILED
            except httpx.TransportError as error:
                typer.echo(f"roo-vision: {self.url} cannot be asked: {error}", err=True)
                return FAILED
        return FAILED if state.phase == Phase.BACK and method != "DELETE" else OK

    def _again(self, client: httpx.Client) -> RolloutState:
        """How far it is now, from a service that may be away for a while."""
        ends, told = time.monotonic() + PATIENCE_SECONDS, False
        while True:
            try:
                return self._ask(client, "GET", None)
            except (Refused, httpx.TransportError) as error:
                if (isinstance(error, Refused) and not error.retryable) or time.monotonic() > ends:
                    raise
                if not told:
                    typer.echo(f"roo-vision: {self.url} does not answer ({error}); it is asked again", err=True)
                told = True
            time.sleep(LOOK_SECONDS)

    def _ask(self, client: httpx.Client, method: str, content: bytes | None) -> RolloutState:
        response = client.request(method, f"/v1/models/{quote(self.model, safe='')}/rollout", content=content)
        if not response.is_success:
            raise refusal(response)
        return RolloutState.model_validate_json(response.content)


def _worth_telling(state: RolloutState) -> tuple[str, int, bool]:
    """What it waits for is told once: the figures in the reason change with every picture."""
    return state.phase, state.step, bool(state.reason)


def words(state: RolloutState) -> str:
    """A state in one line."""
    told = ", ".join(f"version {version}: {share:g} %" for version, share in sorted(state.shares.items()))
    shares = told or "no shares"
    reason = f" ({printable(state.reason)})" if state.reason else ""
    return f"{state.model} to version {state.to}: {state.phase}, {shares}{reason}"


def run(asked: Asked, to: str | None, steps: str, every: str, guards: list[str], *, stop: bool) -> None:
    """Do what the options say, and end the program with its status."""
    if stop:
        sys.exit(asked.stop())
    if to is None:
        sys.exit(asked.show())
    try:
        percent = [float(step) for step in steps.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--steps {steps}: give percent with commas between, such as 5,25,50,100.") from None
    try:
        plan = RolloutPlan.model_validate({"to": to, "steps": percent, "every": every, "guards": guards})
    except ValidationError as error:
        (place, *_), words = error.errors()[0]["loc"], error.errors()[0]["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(f"--{place}: {words}.") from None
    sys.exit(asked.begin(plan))
