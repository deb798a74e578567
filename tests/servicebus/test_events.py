"""A blob is created, Event Grid puts an event on the queue: the picture is answered, whichever schema the event has."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage

from app.devbus.broker import Broker
from tests.fixtures.engines import MeanColourEngine
from tests.fixtures.pictures import solid
from tests.fixtures.queue import colour_in, put, results, working
from tests.fixtures.service import colour_model, running
from tests.fixtures.waiting import until_async
from tests.servicebus.blobs import Blobs
from tests.servicebus.test_message import CLOUD_EVENT, GRID_EVENT

COLOUR = (250, 130, 20)
SCHEMAS = {"cloud": CLOUD_EVENT, "grid": GRID_EVENT}


@pytest.fixture
async def bus() -> AsyncIterator[Broker]:
    """A queue of pictures, and one of results."""
    async with Broker(["jobs,lock=30,max_delivery=2", "results,dedup=600"]) as broker:
        yield broker


def delivered(event: dict[str, Any], url: str, message_id: str) -> ServiceBusMessage:
    """A message as Event Grid sends it for that blob: its own properties, and one that the subscription adds."""
    body = json.dumps({**event, "data": {**event["data"], "url": url}})
    added = {
        "aeg-subscription-name": "PICTURES-TO-QUEUE",
        "aeg-delivery-count": "0",
        "aeg-event-type": "Notification",
        "robot_id": "r7",
    }
    content_type = "application/cloudevents+json; charset=utf-8" if "specversion" in event else None
    return ServiceBusMessage(body, content_type=content_type, message_id=message_id, application_properties=added)


async def test_an_event_is_answered_with_its_blobs_prediction(bus: Broker) -> None:
    async with Blobs() as storage:
        url = storage.put("pictures/r7/0001.png", solid(COLOUR))
        with running(colour_model(MeanColourEngine())) as service:
            async with working(service, bus, blob_accounts=(storage.account,)):
                await put(bus, (delivered(event, url, name) for name, event in SCHEMAS.items()))
                found = await results(bus, len(SCHEMAS))
                await until_async(lambda: bus.queue("jobs").depths.total == 0)
    assert {name: colour_in(body) for name, body in found.items()} == dict.fromkeys(SCHEMAS, COLOUR)
    assert {(body["image_url"], body["robot_id"]) for body in found.values()} == {(url, "r7")}


async def test_an_event_of_another_account_is_dead_lettered_and_never_fetched(bus: Broker) -> None:
    async with Blobs() as allowed, Blobs() as other:
        url = other.put("pictures/r7/0001.png", solid(COLOUR))
        with running(colour_model(MeanColourEngine())) as service:
            async with working(service, bus, blob_accounts=(allowed.account,)):
                await put(bus, (delivered(event, url, name) for name, event in SCHEMAS.items()))
                await until_async(lambda: bus.queue("jobs/$DeadLetterQueue").depths.total == len(SCHEMAS))
    reasons = {entry.reason for entry in bus.queue("jobs/$DeadLetterQueue").peek()}
    assert reasons == {"SourceRefused"}
    assert other.seen == []
