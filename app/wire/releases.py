"""Shares that are changed and roll-outs, as administrators send them and are told of them."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from app.core.rollout import State
from app.repository.manifest import Version

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def read_seconds(value: Any) -> Any:
    """Seconds of `10m`, `30s` or `2h`; a number is seconds already. Raises `ValueError` for another text."""
    if not isinstance(value, str):
        return value
    if (found := _TIME.fullmatch(value.strip())) is None:
        raise ValueError("a time is a number and s, m or h, such as 10m")
    return float(found.group(1)) * _SECONDS[found.group(2)]


Seconds = Annotated[
    float,
    Field(gt=0, le=30 * 86400),
    BeforeValidator(read_seconds),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "examples": ["10m"]}]}),
]
Percent = Annotated[float, Field(ge=0, le=100)]


class SharesChange(BaseModel):
    """Other shares of a model's versions; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    traffic: dict[Version, Percent] | None = Field(None, description="Percent by version, together 100.")
    shadow: dict[Version, Percent] | None = Field(
        None, description="Percent of the requests that a version computes as well, unsent."
    )


class RolloutPlan(BaseModel):
    """A version that is to get all requests, step by step, as long as its guards hold."""

    model_config = ConfigDict(extra="forbid")

    to: str = Field(max_length=64, description="The version, or a stage.")
    steps: Annotated[list[Percent], Field(min_length=1, max_length=100)] = Field(
        [5.0, 25.0, 50.0, 100.0], description="Its percent, rising; the last is 100."
    )
    every: Seconds = Field(600.0, description="Least time that each step takes, in seconds or as `10m`.")
    guards: list[Annotated[str, Field(max_length=100)]] = Field(
        ["error_ratio<0.5%", "p99<1.2x"], max_length=10, description="Limits that must hold, such as `agreement>0.97`."
    )


class RolloutState(BaseModel):
    """How far a roll-out is."""

    model: str
    to: str
    phase: str = Field(description="`running`, `done`, or `back`: it went back to the shares before.")
    reason: str = Field(description="Why it waits or went back; empty where there is nothing to say.")
    shares: dict[str, float] = Field(description="Those of this state.")
    steps: list[float]
    step: int = Field(description="The present one of these, from 0.")
    every: float = Field(description="Seconds.")
    guards: list[str]
    before: dict[str, float] = Field(description="The shares that it goes back to.")
    since: datetime = Field(description="When this step began, or it ended.")
    replica: str = Field("", description="Whose it is, by host name: each replica of a service has its own.")


def to_rollout(state: State, replica: str = "") -> RolloutState:
    """A state for who asks."""
    plan = state.plan
    return RolloutState(
        model=plan.model,
        to=plan.to,
        phase=state.phase,
        reason=state.reason,
        shares=state.shares,
        steps=list(plan.steps),
        step=state.step,
        every=plan.every,
        guards=[guard.text for guard in plan.guards],
        before=dict(plan.before),
        since=datetime.fromtimestamp(state.since, UTC),
        replica=replica,
    )
