"""A topic's subscription in the place of a queue."""

import json

import pytest

from app.commands import letters
from app.commands.letters import Choice
from app.devbus.broker import Broker
from app.devbus.limits import BrokerLimits
from app.errors import StartupError
from app.queue_source import QueueSource, hint_where_missing
from app.settings import Settings
from tests.fixtures.engines import MeanColourEngine
from tests.fixtures.pictures import Colour
from tests.fixtures.queue import picture, put, results, working
from tests.fixtures.service import colour_model, running
from tests.fixtures.waiting import until_async

RED: Colour = (255, 0, 0)
VISION = "shots/subscriptions/vision"
DEAD = f"{VISION}/$DeadLetterQueue"


def broker(vision: str = "vision,lock=60") -> Broker:
    limits = BrokerLimits(max_message_size=8 << 20)
    return Broker(["results,dedup=600"], {"shots": [vision, "archive"]}, limits=limits)


def test_a_source_is_a_queue_or_a_subscription() -> None:
    assert QueueSource.of("a/b") == QueueSource("a/b")
    assert QueueSource.of("shots/Subscriptions/vision") == QueueSource("shots", "vision")
    assert QueueSource.of("a/b/subscriptions/c") == QueueSource("a/b", "c")


def test_a_subscription_that_is_spelt_otherwise_is_a_queue_and_hinted_at_where_that_is_missing() -> None:
    assert QueueSource.of("shots/subscription/vision") == QueueSource("shots/subscription/vision")
    assert hint_where_missing("a/shots/Subscription/vision") == " A subscription is named a/shots/subscriptions/vision."
    assert [hint_where_missing(path) for path in ("jobs", "subs/vision", VISION, "a/b/c")] == [""] * 4


async def test_a_missing_queue_that_may_be_a_subscription_says_so() -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus, working(service, bus, queue="shots/subscription/vision") as worker:
            await until_async(lambda: str(worker.status).endswith(f" A subscription is named {VISION}.)"))


@pytest.mark.parametrize(("vision", "settings"), [("vision", {}), ("vision,sessions", {"queue_sessions": 4})])
async def test_pictures_of_a_topic_are_answered_and_other_subscriptions_left_alone(
    vision: str, settings: dict[str, int]
) -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker(vision) as bus, working(service, bus, queue=VISION, **settings) as worker:
            await put(bus, (picture(RED, f"m{number}", session_id=f"r{number % 2}") for number in range(6)), "shots")
            assert set(await results(bus, 6)) == {f"m{number}" for number in range(6)}
            await until_async(lambda: bus.queue(VISION).depths.total == 0)
            assert str(worker.status) == f"{VISION}: connected"
            assert bus.queue("shots/subscriptions/archive").depths.active == 6


async def test_results_do_not_go_to_the_topic_that_is_read() -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus, working(service, bus, queue=VISION):
            await put(bus, [picture(RED, "loop", reply_to="shots")], "shots")
            await until_async(lambda: bus.queue(VISION).depths.dead_lettered == 1)
            (dead,) = bus.queue(DEAD).peek()
            assert dead.reason == "ReplyRefused"


async def test_a_subscriptions_dead_letters_are_listed_and_sent_to_its_topic_where_that_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus:
            settings = Settings(queue=VISION, servicebus_connection_string=bus.connection_string)
            async with working(service, bus, queue=VISION):
                bad = picture(RED, "bad")
                bad.application_properties = {"model": "nobody"}
                await put(bus, [bad], "shots")
                await until_async(lambda: bus.queue(DEAD).depths.active == 1)
            await letters.print_list(settings, None, 10, as_json=True)
            assert json.loads(capsys.readouterr().out)["reason"] == "ModelNotFound"
            everything = Choice.of(None, None, everything=True)
            with pytest.raises(StartupError, match="--to-topic"):
                await letters.resubmit(settings, everything, 0, as_json=True)
            assert await letters.resubmit(settings, everything, 0, as_json=True, to_topic=True)
            assert bus.queue(DEAD).depths.total == 0
            assert bus.queue(VISION).depths.active == 1
            assert bus.queue("shots/subscriptions/archive").depths.active == 2
