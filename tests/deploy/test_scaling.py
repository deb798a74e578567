"""The simulated scalers keep to the published rules, and what is shipped does what the document says of it."""

from dataclasses import replace

import pytest

from benchmarks.scaling import prices, shipped, tables
from benchmarks.scaling.rules import SYNC_SECONDS, Activation, Autoscaler, Direction, Scaler, wish
from benchmarks.scaling.simulation import STEP, Place, Spike, most, oldest, simulate, worst
from benchmarks.scaling.world import Bus, Nodes, pictures_per_second
from tests.deploy.places import ROOT

KEDA, APPS = shipped.keda(), shipped.container_apps()
DEFAULTS = Scaler(
    message_count=10,
    least=0,
    most=100,
    polling=30,
    cooldown=300,
    up=Direction(window=0, percent=100, period=15, pods=4),
    down=Direction(window=300, percent=100, period=15),
)


class TestRules:
    """Each as KEDA's, Kubernetes' and Container Apps' documents have it."""

    @pytest.mark.parametrize(("messages", "replicas"), [(10, 1), (12, 2), (500, 50), (501, 51), (5_000, 100), (0, 1)])
    def test_the_metric_over_the_target_rounded_up_and_bounded(self, messages: float, replicas: int) -> None:
        assert wish(DEFAULTS, messages, current=20) == replicas

    @pytest.mark.parametrize(("messages", "replicas"), [(91, 10), (109, 10), (89, 9), (111, 12)])
    def test_a_tenth_more_or_less_changes_nothing(self, messages: float, replicas: int) -> None:
        assert wish(DEFAULTS, messages, current=10) == replicas

    def test_none_is_left_to_the_autoscaler(self) -> None:
        assert Autoscaler(DEFAULTS).decide(0, 1_000, current=0) == 0

    def test_it_doubles_or_adds_four_a_period_whichever_is_more(self) -> None:
        scaler, counts = Autoscaler(DEFAULTS), [1]
        for sync in range(5):
            counts.append(scaler.decide(sync * SYNC_SECONDS, 10_000, counts[-1]))
        assert counts == [1, 5, 10, 20, 40, 80]

    def test_what_came_within_the_period_counts(self) -> None:
        scaler = Autoscaler(DEFAULTS)
        assert scaler.decide(0, 10_000, 1) == 5
        assert scaler.decide(5, 10_000, 5) == 5
        assert scaler.decide(15, 10_000, 5) == 10

    def test_the_greatest_wish_of_the_window_holds_replicas(self) -> None:
        scaler = Autoscaler(DEFAULTS)
        assert scaler.decide(0, 200, 20) == 20
        assert scaler.decide(15, 10, 20) == 20
        assert scaler.decide(299, 10, 20) == 20
        assert scaler.decide(300, 10, 20) == 1

    def test_the_least_wish_of_the_window_for_coming_holds_them_too(self) -> None:
        scaler = Autoscaler(replace(DEFAULTS, up=replace(DEFAULTS.up, window=30)))
        assert scaler.decide(0, 10, 1) == 1
        assert scaler.decide(15, 50, 1) == 1
        assert scaler.decide(30, 50, 1) == 5

    def test_a_share_goes_each_period(self) -> None:
        scaler = Autoscaler(replace(DEFAULTS, down=Direction(window=0, percent=50, period=60)))
        assert scaler.decide(0, 10, 20) == 10
        assert scaler.decide(15, 10, 10) == 10
        assert scaler.decide(60, 10, 10) == 5

    def test_the_first_comes_above_the_activation_and_goes_after_the_cooldown(self) -> None:
        activation = Activation(replace(DEFAULTS, activation=5))
        assert activation.decide(0, 5, 0) == 0
        assert activation.decide(30, 6, 0) == 1
        assert activation.decide(60, 5, 3) == 3
        assert activation.decide(330, 5, 3) == 3
        assert activation.decide(331, 5, 3) == 0

    def test_where_some_are_kept_none_of_them_goes(self) -> None:
        kept = replace(DEFAULTS, least=2)
        assert Activation(kept).decide(10_000, 0, 2) == 2
        assert wish(kept, 0, 2) == 2

    def test_container_apps_have_their_own_steps_and_window(self) -> None:
        assert (APPS.up, APPS.down) == (DEFAULTS.up, DEFAULTS.down)


class TestWorld:
    def test_pods_wait_for_a_node_that_takes_several(self) -> None:
        nodes = Nodes(room=1, pods_per_node=2, node_seconds=100)
        assert [nodes.take(5) for _ in range(4)] == [5, 105, 105, 105]
        nodes.give_back(50)
        assert nodes.take(60) == 60

    def test_the_bus_refuses_what_it_cannot_carry(self) -> None:
        assert Bus(60).pass_on(1, 10, 10) == (10, 10)
        assert Bus(30).pass_on(1, 10, 10) == (5, 5)
        assert Bus(30).pass_on(1, 0, 0) == (0, 0)

    def test_a_standard_namespace_carries_no_more_than_its_credits(self) -> None:
        flood = Spike(per_minute=1.2 * 60 * pictures_per_second(), seconds=1200, pictures_per_second=1_000)
        moments = simulate(Place("any", replace(KEDA, least=20)), flood)
        assert moments[-1].backlog + moments[-1].refused > 0.15 * pictures_per_second() * 1200

    def test_the_scaler_has_looked_just_before_the_spike(self) -> None:
        moments = simulate(Place("any", KEDA, start_seconds=1), Spike())
        assert next(moment.time for moment in moments if moment.paid) == KEDA.polling

    def test_prices_are_those_of_two_cores_and_four_gib(self) -> None:
        assert prices.container_apps(60) == pytest.approx(1.0)
        assert prices.standard_bus() == pytest.approx(4.8)


@pytest.mark.parametrize("rows", tables.TABLES, ids=lambda rows: str(rows.__name__))
def test_the_document_is_what_the_simulation_says(rows: tables.Rows) -> None:
    text = (ROOT / "docs" / "scaling.md").read_text()
    assert tables.markdown(rows()) in text, "run `python -m benchmarks.scaling`"


def test_what_is_shipped_follows_from_the_worst_case_and_is_the_same_everywhere() -> None:
    assert KEDA.message_count == APPS.message_count == tables.message_count(KEDA.polling)
    assert (KEDA.polling, KEDA.cooldown, KEDA.most) == (APPS.polling, APPS.cooldown, APPS.most)


@pytest.mark.parametrize("rate", [10, 150])
@pytest.mark.parametrize("spike", ["800 at once", "800 a minute"])
def test_the_shift_change_is_answered_in_time(spike: str, rate: float) -> None:
    moments = worst(tables.places()["AKS, nodes there"], replace(tables.SPIKES[spike], pictures_per_second=rate))
    assert oldest(moments) < tables.AIM_SECONDS
    assert moments[-1].backlog == pytest.approx(0)


def test_half_as_much_again_would_be_too_much_for_slow_replicas() -> None:
    more = Place("any", replace(KEDA, message_count=KEDA.message_count * 3 // 2))
    assert oldest(worst(more, replace(tables.BURST, pictures_per_second=10))) > tables.AIM_SECONDS


@pytest.mark.parametrize("place", tables.places().values(), ids=lambda place: str(place.name))
def test_the_bounds_are_kept_and_none_is_left_at_the_end(place: Place) -> None:
    moments = simulate(place, tables.SPIKES["8,000 a minute"])
    assert all(place.scaler.least <= moment.paid <= place.scaler.most for moment in moments)
    assert all(0 <= moment.running <= moment.paid for moment in moments)
    assert moments[-1].paid == place.scaler.least


def test_without_messages_nothing_is_started() -> None:
    assert most(simulate(Place("any", KEDA), Spike(per_minute=0))) == 0


def test_replicas_come_no_faster_than_the_policy_lets_them() -> None:
    moments = simulate(Place("any", KEDA), Spike(per_minute=80_000))
    steps = round(KEDA.up.period / STEP)
    for before, after in zip(moments, moments[steps - 1 :], strict=False):
        assert after.paid <= max(before.paid + KEDA.up.pods, before.paid * (1 + KEDA.up.percent / 100)) + 1
