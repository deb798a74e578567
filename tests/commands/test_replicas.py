"""Several replicas as one: who they are, and what they have counted."""

import socket
from typing import Any

import pytest

from app.commands.replicas import addresses, figures, of_all
from app.commands.top import parse
from app.core.rollout import Plan
from app.errors import InvalidRequest
from app.telemetry.readings import Interval
from app.wire.models import ModelInfo

PLAN = Plan("shelf", "2", (50, 100), 60, (), {"1": 100})


def metrics(pictures: int, failed: int, quick: int, compared: int = 0) -> str:
    """What a replica says that answered so many, of which some failed, and some took less than 0.1 s."""
    of = 'source="http",model="shelf",version="2"'
    times = (
        f'roo_request_seconds_bucket{{{of},le="0.1"}} {quick}\nroo_request_seconds_bucket{{{of},le="+Inf"}} {pictures}'
    )
    pair = 'model="shelf",version="2",against="1"'
    return f"""roo_ready 1
roo_requests_total{{{of},outcome="ok"}} {pictures - failed}
roo_requests_total{{{of},outcome="engine_failure"}} {failed}
roo_requests_total{{{of},outcome="invalid_image"}} 7
roo_requests_total{{source="http",model="other",version="2",outcome="ok"}} 99
{times}
roo_shadow_agreement_ratio_count{{{pair}}} {compared}
roo_shadow_agreement_ratio_sum{{{pair}}} {compared / 2}
"""


def test_what_is_counted_between_two_looks() -> None:
    before, now = parse(metrics(10, 1, 6), 0), parse(metrics(30, 4, 20, compared=8), 1)
    found = figures(PLAN, Interval(now, before))
    assert (found.new.pictures, found.new.failed, found.new.buckets, found.new.times) == (20, 3, (0.1,), (14, 6))
    assert (found.old.pictures, found.compared, found.agreement) == (0, 8, 4)
    both = found + figures(PLAN, Interval(now, now)) + found
    assert (both.new.pictures, both.new.times) == (40, (28, 12))
    assert both.new.quantile(0.5) == pytest.approx(0.1 * 20 / 28)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://pods:8000", ["http://10.0.0.1:8000", "http://10.0.0.2:8000"]),
        ("https://pods", ["https://pods"]),
        ("http://10.0.0.9:8000/below", ["http://10.0.0.9:8000/below"]),
        ("http://[::1]:8000", ["http://[::1]:8000"]),
    ],
)
def test_a_name_with_several_addresses_is_several_replicas(url: str, found: list[str]) -> None:
    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        families = [(socket.AF_INET, ("10.0.0.2", port)), (socket.AF_INET, ("10.0.0.1", port))]
        return [(family, 0, 0, "", where) for family, where in [*families, (socket.AF_INET6, ("fd00::1", port, 0, 0))]]

    assert addresses(url, look_up) == found


def test_a_name_with_one_address_stays_as_it_is() -> None:
    assert addresses("http://localhost:8000") == ["http://localhost:8000"]


def replica(**traffic: float) -> ModelInfo:
    """What one says of a model that has these shares, `v1` and so on being its versions."""
    shares = {version.removeprefix("v"): percent for version, percent in traffic.items()}
    told = {"task": "detection", "labels": [], "default": True, "versions": [], "stages": {}, "shadow": {}}
    return ModelInfo.model_validate({"name": "shelf", "traffic": shares, "default_version": "2", **told})


def test_replicas_that_do_not_agree_are_named() -> None:
    assert of_all({"http://a": replica(v1=90, v2=10), "http://b": replica(v1=90, v2=10)}) == {"1": 90, "2": 10}
    assert of_all({"http://a": replica()}) == {"2": 100}
    with pytest.raises(InvalidRequest, match=r"http://a has 1: 90 %, 2: 10 %, http://c 2: 100 %"):
        of_all({"http://a": replica(v1=90, v2=10), "http://b": replica(v1=90, v2=10), "http://c": replica()})
