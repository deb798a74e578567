"""What the metrics say of a queue, and that no message can make them grow."""

from pathlib import Path

import httpx
from azure.servicebus import ServiceBusMessage
from prometheus_client.parser import text_string_to_metric_families as read_text

from app.devbus.broker import Broker
from app.devbus.limits import BrokerLimits
from tests.fixtures.pictures import solid
from tests.fixtures.queue import picture, put
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import until_async


def samples(server: Server) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and its labels' values."""
    text = httpx.get(f"{server.url}/metrics").text
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in read_text(text)
        for sample in family.samples
    }


def odd(number: int) -> ServiceBusMessage:
    """A message that says something new wherever a message can."""
    words = f'odd-{number}"}}\n'
    return ServiceBusMessage(
        solid((1, 2, 3)),
        content_type="image/png",
        message_id=words,
        subject=words,
        correlation_id=words,
        application_properties={
            "model": f"odd-{number}",
            "robot_id": " ".join(words.split()),
            words: words,
            "traceparent": words,
        },
    )


async def test_a_messages_outcome_age_and_margin_are_counted_and_its_words_are_not(repository: Path) -> None:
    async with Broker(["jobs,lock=60", "results"], limits=BrokerLimits(max_message_size=8 << 20)) as bus:
        queue = {"queue": "jobs", "results_queue": "results", "servicebus_connection_string": bus.connection_string}
        with serving(repository, default_model="colour", **queue) as server:
            await put(bus, [picture((1, 2, 3), "good")])
            done = ("roo_messages_total", ("complete", "jobs", ""))
            await until_async(lambda: samples(server).get(done) == 1)
            dead = ("roo_messages_total", ("dead_letter", "jobs", "ModelNotFound"))
            await put(bus, [odd(number) for number in range(5)])
            await until_async(lambda: samples(server).get(dead) == 5)
            before = samples(server)
            await put(bus, [odd(number) for number in range(5, 25)])
            await until_async(lambda: samples(server).get(dead) == 25)
            after = samples(server)
    assert after.keys() == before.keys()
    assert not [key for key in after if any("odd" in label for label in key[1])]
    assert after["roo_queue_connected", ("jobs",)] == 1
    assert after["roo_messages_held", ("jobs",)] == 0
    assert after["roo_lock_margin_seconds_count", ("jobs",)] == 26
    assert after["roo_message_age_seconds_count", ("jobs",)] == 26
    assert after["roo_message_seconds_count", ("jobs",)] == 26
    assert after["roo_requests_total", ("colour", "ok", "queue", "2")] == 1
