"""All replicas of a service, looked at together: whose shares are which, and what was counted over all of them."""

import ipaddress
import math
import socket
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from typing import Any

import httpx

from app.client import InvalidRequest, ModelInfo, ServiceError
from app.commands.running_service import client_of
from app.commands.top import Source, Unreadable
from app.core.guards import Counted, Figures
from app.core.rollout import Plan
from app.core.rollout_figures import CALLERS_OWN
from app.repository.route import WHOLE, percents
from app.settings import Settings
from app.telemetry.readings import Interval, Reading

ANSWER_SECONDS = 5.0
STARTED = "process_start_time_seconds"


def addresses(url: str, look_up: Callable[..., list[Any]] = socket.getaddrinfo) -> list[str]:
    """The replicas behind a URL: one for each address that its name has, where several have the name and HTTP is not
    encrypted (a headless Service's, say). Raises `OSError` where the name is not known.
    """
    known = httpx.URL(url)
    if known.scheme != "http" or _is_address(known.host):
        return [url]
    found = look_up(known.host, known.port or 80, type=socket.SOCK_STREAM)
    family = min(each[0] for each in found)  # one of both, as a replica has an address of each
    hosts = sorted({str(each[4][0]) for each in found if each[0] == family})
    return [str(known.copy_with(host=host)) for host in hosts] if len(hosts) > 1 else [url]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Replicas:
    """Those behind `urls`, found anew at each look. Nothing of one that has gone is forgotten, and one that comes
    counts from then on.
    """

    def __init__(self, model: str, urls: Sequence[str], settings: Settings) -> None:
        self._model = model
        self._urls = urls
        self._settings = settings
        self._readings: dict[str, Reading] = {}
        self._counted = Figures()
        self.trouble: list[str] = []
        """Who could not be looked at the last time, and why."""

    def look(self, plan: Plan) -> tuple[dict[str, ModelInfo], Figures]:
        """What each replica says of the model, by address, and what was counted since the first look."""
        self.trouble = []
        infos = {}
        for url in self._found():
            try:
                infos[url] = self.info(url)
                self._count(url, plan)
            except ServiceError as error:
                self.trouble.append(f"{url}: {error}")
            except Unreadable as error:
                self.trouble.append(str(error))
        return infos, self._counted

    def infos(self) -> dict[str, ModelInfo]:
        """What each replica says of the model, by address; raises `ServiceError` where one says nothing."""
        self.trouble = []
        found = {url: self.info(url) for url in self._found()}
        if self.trouble:
            raise ServiceError("; ".join(self.trouble))
        return found

    def info(self, url: str) -> ModelInfo:
        """What one says; raises `ServiceError`."""
        with client_of(url, self._settings, ANSWER_SECONDS) as client:
            return client.model(self._model)

    def _found(self) -> list[str]:
        found: list[str] = []
        for url in self._urls:
            try:
                found += addresses(url)
            except (OSError, httpx.InvalidURL) as error:
                self.trouble.append(f"{url} is not found: {error}")
        return found

    def _count(self, url: str, plan: Plan) -> None:
        with Source(url, self._settings) as source:
            reading = source.read()
        before, self._readings[url] = self._readings.get(url), reading
        if before is None:
            return
        restarted = before.values(STARTED) != reading.values(STARTED)
        self._counted += figures(plan, Interval(reading, None if restarted else before))


def figures(plan: Plan, interval: Interval) -> Figures:
    """What one replica counted in an interval, as `rollout_figures.read` has it of its own."""
    old = {version for version in plan.before if version != plan.to}
    compared = {"model": plan.model, "version": plan.to}
    agreement = "roo_shadow_agreement_ratio"
    return Figures(
        _counted(plan.model, {plan.to}, interval),
        _counted(plan.model, old, interval),
        sum(interval.growth(f"{agreement}_count", **compared).values()),
        sum(interval.growth(f"{agreement}_sum", **compared).values()),
    )


def _counted(model: str, versions: Collection[str], interval: Interval) -> Counted:
    pictures = failed = 0.0
    below: dict[float, float] = defaultdict(float)
    for version in versions:
        for labels, count in interval.growth("roo_requests_total", model=model, version=version).items():
            pictures += count
            if dict(labels)["outcome"] not in {"ok", *CALLERS_OWN}:
                failed += count
        for labels, count in interval.growth("roo_request_seconds_bucket", model=model, version=version).items():
            below[float(dict(labels)["le"])] += count
    bounds = sorted(below)
    counts = [below[bound] for bound in bounds]
    times = [max(0.0, upper - lower) for lower, upper in pairwise([0.0, *counts])]
    return Counted(pictures, failed, tuple(bound for bound in bounds if math.isfinite(bound)), tuple(times))


def shares_of(info: ModelInfo) -> dict[str, float]:
    """The shares that hold at a replica; they add up to 100."""
    return info.traffic or {info.default_version: WHOLE}


def of_all(infos: dict[str, ModelInfo]) -> dict[str, float]:
    """The shares that hold at every replica; raises `InvalidRequest` where they are not the same."""
    (first, info), *others = infos.items()
    for url, other in others:
        if shares_of(other) != shares_of(info):
            raise InvalidRequest(
                f"The replicas do not agree: {first} has {percents(shares_of(info))}, {url} "
                f"{percents(shares_of(other))}. Have both read the same traffic.yaml first."
            )
    return shares_of(info)
