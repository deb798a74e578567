"""The simulation of the scaler keeps to its rules, and what the manifests ship does what the document says of it."""

from dataclasses import replace

import pytest

from benchmarks import scaling
from benchmarks.scaling import SPIKES, World, simulate
from tests.deploy.places import ROOT

SHIPPED = scaling.shipped()
TARGET_SECONDS = 60


def test_the_document_is_what_the_simulation_says() -> None:
    text = (ROOT / "docs" / "scaling.md").read_text()
    assert scaling.table(scaling.spike_rows(SHIPPED)) in text, "run `python -m benchmarks.scaling`"
    assert scaling.table(scaling.count_rows(SHIPPED)) in text, "run `python -m benchmarks.scaling`"


@pytest.mark.parametrize("rate", [10, 26, 60, 150])
@pytest.mark.parametrize("spike", ["800 at once", "800 a minute"])
def test_the_shift_change_is_answered_in_time(spike: str, rate: float) -> None:
    moments = simulate(SHIPPED, replace(SPIKES[spike], pictures_per_second=rate))
    assert max(moment.age for moment in moments) < TARGET_SECONDS
    assert moments[-1].backlog == pytest.approx(0)


def test_twice_the_message_count_would_be_too_much_for_slow_replicas() -> None:
    doubled = replace(SHIPPED, message_count=2 * SHIPPED.message_count)
    moments = simulate(doubled, replace(SPIKES["800 at once"], pictures_per_second=10))
    assert max(moment.age for moment in moments) > TARGET_SECONDS


def test_ten_times_the_shift_change_is_answered_in_time() -> None:
    moments = simulate(SHIPPED, SPIKES["8,000 a minute"])
    assert max(moment.age for moment in moments) < TARGET_SECONDS


@pytest.mark.parametrize("spike", SPIKES)
def test_the_bounds_are_kept_and_none_is_left_at_the_end(spike: str) -> None:
    moments = simulate(SHIPPED, SPIKES[spike])
    assert all(0 <= moment.running <= moment.paid <= SHIPPED.most for moment in moments)
    assert moments[-1].paid == SHIPPED.least == 0


def test_without_messages_nothing_is_started() -> None:
    assert not any(moment.paid for moment in simulate(SHIPPED, World(per_minute=0)))


def test_replicas_come_no_faster_than_the_policy_lets_them() -> None:
    moments = simulate(SHIPPED, World(per_minute=80_000))
    steps = round(SHIPPED.up_period / scaling.STEP)
    for before, after in zip(moments, moments[steps - 1 :], strict=False):
        most = max(before.paid + SHIPPED.up_pods, before.paid * (1 + SHIPPED.up_percent / 100))
        assert after.paid <= most + 1
