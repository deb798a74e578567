"""One message after the other through a real core: its picture, its answer, and the result where it is wanted."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from PIL import Image

from app.commands import entries
from app.core.service import InferenceService
from app.devbus.broker import Broker
from app.devbus.entry import Entry
from app.errors import (
    DeadlineExceeded,
    InvalidImage,
    InvalidMessage,
    ModelNotFound,
    PayloadTooLarge,
    ReplyRefused,
    RequestError,
    ResultTooLarge,
    SourceNotFound,
    SourceRefused,
    UnsupportedImage,
)
from app.servicebus.answering import Answering, SizeLimits, _deadline
from app.servicebus.claimcheck import BlobStore
from app.servicebus.connection import Access, Connection
from app.servicebus.outboxes import Outboxes
from app.servicebus.results import Replies, result_id
from app.servicebus.settlement import COMPLETE
from tests.fixtures.engines import Gate, MeanColourEngine
from tests.fixtures.models import add_maps_model
from tests.fixtures.pictures import Colour, solid
from tests.fixtures.service import colour_model, running
from tests.fixtures.waiting import until_async
from tests.servicebus.blobs import Blobs
from tests.servicebus.wire import received
from tests.vision.pictures import file_of

# The SDK takes half a second to open a sender, and as long to close it: the tests share theirs, and one event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

RED, ORANGE = (255, 0, 0), (200, 100, 50)
LIMITS = SizeLimits(image_bytes=50_000, result_bytes=100_000)


class Desk:
    """A message is handed in, and what is stored for it looked at."""

    def __init__(self, broker: Broker, connection: Connection, outboxes: Outboxes, storage: Blobs) -> None:
        self.broker = broker
        self.connection = connection
        self.outboxes = outboxes
        self.storage = storage
        self.replies = Replies("results", "jobs", connection.namespace, frozenset())
        self.stores: list[BlobStore] = []

    def answering(self, service: InferenceService, limits: SizeLimits = LIMITS, *, container: bool = True) -> Answering:
        results = self.storage.url("results") if container else None
        self.stores.append(BlobStore((self.storage.account,), results, None))
        return Answering(service, self.replies, self.outboxes, self.stores[-1], limits)

    def results(self, request_id: str, queue: str = "results") -> list[Entry]:
        entries = self.broker.queue(queue).peek(limit=10_000)
        return [entry for entry in entries if entry.message.correlation_id == request_id]

    def result(self, request_id: str, queue: str = "results") -> dict[str, Any]:
        (entry,) = self.results(request_id, queue)
        found: dict[str, Any] = json.loads(entry.body)
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk() -> AsyncIterator[Desk]:
    queues = ["jobs,lock=60", "results,dedup=60", "fleet"]
    async with Broker(queues) as broker, Blobs() as storage:
        connection = Connection(Access(None, broker.connection_string))
        outboxes = Outboxes(connection.sender)
        desk = Desk(broker, connection, outboxes, storage)
        yield desk
        await asyncio.gather(*(store.close() for store in desk.stores))
        await outboxes.close()
        await connection.close()


@pytest.fixture
def service() -> Iterator[InferenceService]:
    """Two versions of a model that answers with the mean colour it sees."""
    with running(*(colour_model(MeanColourEngine(), version=version) for version in ("1", "2"))) as service:
        yield service
        assert service.admission.used.image_bytes == 0


def seen(body: dict[str, Any]) -> Colour:
    """The colour that the model saw, which proves whose answer this is."""
    shares = {item["label"]: item["score"] for item in body["classes"]}
    red, green, blue = (round(shares[name] * 255) for name in ("red", "green", "blue"))
    return red, green, blue


def picture_message(name: str, colour: Colour = ORANGE, **fields: Any) -> ServiceBusReceivedMessage:
    return received(solid(colour), content_type="image/png", message_id=name, **fields)


def envelope_message(name: str, fields: dict[str, Any], **more: Any) -> ServiceBusReceivedMessage:
    return received(json.dumps(fields).encode(), content_type="application/json", message_id=name, **more)


async def refused(answering: Answering, message: ServiceBusReceivedMessage, error: type[RequestError]) -> str:
    with pytest.raises(error) as caught:
        await answering.answer(message)
    assert type(caught.value) is error
    return str(caught.value)


async def test_a_message_from_the_queue_gets_its_answer_on_the_results_queue(
    desk: Desk, service: InferenceService
) -> None:
    async with desk.connection.sender("jobs") as sender:
        properties: dict[str | bytes, Any] = {"robot_id": "r7", "version": "1", "top_k": 3}
        await sender.send_messages(
            ServiceBusMessage(
                solid(ORANGE),
                content_type="image/png",
                message_id="whole",
                session_id="row-4",
                application_properties=properties,
            )
        )
    receiver = desk.connection.receiver("jobs")
    await receiver.open()
    await receiver.grant(1)
    while not (found := await receiver.read()):
        pass
    (taken,) = found
    await desk.answering(service).answer(taken.message)
    await receiver.settle(taken, COMPLETE)
    await receiver.close()

    (entry,) = desk.results("whole")
    assert entry.message_id == result_id("whole", "colour", "1")
    assert entry.message.group_id == "row-4"
    assert entry.message.application_map == {"model": "colour", "version": "1", "robot_id": "r7"}
    body = json.loads(entry.body)
    assert seen(body) == ORANGE
    assert (body["model"], body["version"], body["request_id"], body["robot_id"]) == ("colour", "1", "whole", "r7")
    assert body["image"] == {"width": 64, "height": 48}
    assert (body["detections"], body["image_url"], body["annotated_url"]) == (None, None, None)
    assert desk.broker.queue("jobs").depths.total == 0


async def test_each_message_gets_the_answer_to_its_own_picture(desk: Desk, service: InferenceService) -> None:
    answering = desk.answering(service)
    colours = [(number, 255 - number, 7 * number % 256) for number in range(40)]
    messages = [picture_message(f"own{number}", colour) for number, colour in enumerate(colours)]
    await asyncio.gather(*(answering.answer(message) for message in messages))
    assert [seen(desk.result(f"own{number}")) for number in range(40)] == colours


async def test_a_result_goes_where_the_message_asks_for_it(desk: Desk, service: InferenceService) -> None:
    message = picture_message("reply", reply_to="fleet", reply_to_group_id="r7")
    await desk.answering(service).answer(message)
    (entry,) = desk.results("reply", "fleet")
    assert entry.message.group_id == "r7"
    assert desk.results("reply") == []


async def test_where_a_result_may_not_go_nothing_is_computed(desk: Desk) -> None:
    engine = MeanColourEngine()
    with running(colour_model(engine)) as service:
        engine.batches.clear()
        await refused(desk.answering(service), picture_message("loop", reply_to="jobs"), ReplyRefused)
        await refused(desk.answering(service), picture_message("away", reply_to="sb://evil.net/x"), ReplyRefused)
    assert engine.batches == []


async def test_a_repeated_message_gives_the_same_result_which_is_stored_once(
    desk: Desk, service: InferenceService
) -> None:
    answering = desk.answering(service)
    for _ in range(3):
        await answering.answer(picture_message("again"))
    await answering.answer(picture_message("again", application_properties={"version": "1"}))
    ids = [entry.message_id for entry in desk.results("again")]
    assert ids == [result_id("again", "colour", "2"), result_id("again", "colour", "1")]


async def test_a_blob_is_fetched_and_named_without_its_signature(desk: Desk, service: InferenceService) -> None:
    url = desk.storage.put("shots/1.png", solid(RED))
    await desk.answering(service).answer(envelope_message("blob", {"image_url": f"{url}?sv=1&sig=VERYSECRET"}))
    body = desk.result("blob")
    assert (seen(body), body["image_url"]) == (RED, url)


async def test_room_for_a_picture_is_held_while_it_is_answered(desk: Desk) -> None:
    content, gate = solid(RED), Gate()
    url = desk.storage.put("shots/room.png", content)
    with running(colour_model(MeanColourEngine(gate))) as service:
        answering = desk.answering(service)
        for message in (picture_message("room1", RED), envelope_message("room2", {"image_url": url})):
            task = asyncio.create_task(answering.answer(message))
            await until_async(lambda: service.admission.used.pictures == 1)
            assert service.admission.used.image_bytes == len(content)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert service.admission.used.image_bytes == service.admission.used.pictures == 0
        gate.open()


async def test_an_annotated_picture_is_stored_and_linked(desk: Desk, service: InferenceService) -> None:
    answering = desk.answering(service)
    for kind in ("png", "jpeg"):
        name = f"drawn-{kind}"
        for _ in range(2):
            await answering.answer(picture_message(name, application_properties={"annotate": f"image/{kind}"}))
        url = desk.result(name)["annotated_url"]
        blob = desk.storage.blobs[url.removeprefix(f"{desk.storage.account}/")]
        assert blob.content_type == f"image/{kind}"
        with Image.open(io.BytesIO(blob.content)) as drawn:
            assert (drawn.format, drawn.size) == (kind.upper(), (64, 48))
    assert len({name for name in desk.storage.blobs if name.endswith(f"colour-2.{kind}")}) == 1


async def test_without_a_container_annotation_is_refused_before_any_work(desk: Desk) -> None:
    engine = MeanColourEngine()
    with running(colour_model(engine)) as service:
        engine.batches.clear()
        answering = desk.answering(service, container=False)
        message = picture_message("plain", application_properties={"annotate": "image/png"})
        assert "ROO_RESULTS_CONTAINER" in await refused(answering, message, InvalidMessage)
    assert engine.batches == []


async def test_a_result_that_is_too_large_for_a_message_is_stored_and_linked(
    desk: Desk, service: InferenceService
) -> None:
    answering = desk.answering(service, replace(LIMITS, result_bytes=100))
    await answering.answer(picture_message("large"))
    pointer = desk.result("large")
    url = pointer.pop("result_url")
    assert pointer == {"model": "colour", "version": "2", "request_id": "large"}
    blob = desk.storage.blobs[url.removeprefix(f"{desk.storage.account}/")]
    assert blob.content_type == "application/json"
    assert seen(json.loads(blob.content)) == ORANGE


async def test_maps_of_a_picture_go_where_a_message_cannot_hold_them(desk: Desk, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 130, 3), np.uint8)
    with entries.loaded(add_maps_model(tmp_path)) as model, running(model) as service:
        answering = desk.answering(service)
        message = {"content_type": "image/png", "application_properties": {"map_size": "original", "classes": "red"}}
        await answering.answer(received(file_of(noise, "PNG"), message_id="small", **message))
        (found,) = desk.result("small")["maps"]
        assert (found["label"], found["width"], found["height"]) == ("red", 130, 100)
        await desk.answering(service, replace(LIMITS, image_bytes=2**20, result_bytes=10_000)).answer(
            received(file_of(noise, "PNG"), message_id="big", **message)
        )
    blob = desk.storage.blobs[desk.result("big")["result_url"].removeprefix(f"{desk.storage.account}/")]
    assert json.loads(blob.content)["maps"] == [found]


async def test_a_blobs_name_cannot_be_steered_by_the_sender(desk: Desk, service: InferenceService) -> None:
    answering = desk.answering(service, replace(LIMITS, result_bytes=100))
    await answering.answer(picture_message("../../shots/1.png?sig=x"))
    url = desk.result("../../shots/1.png?sig=x")["result_url"]
    assert url.startswith(desk.storage.url("results/"))
    assert url.count("/") == desk.storage.url("results/").count("/") + 1
    assert "shots" not in url.removeprefix(desk.storage.account)


async def test_without_a_container_a_result_that_is_too_large_is_refused(desk: Desk, service: InferenceService) -> None:
    answering = desk.answering(service, replace(LIMITS, result_bytes=100), container=False)
    assert "ROO_RESULTS_CONTAINER" in await refused(answering, picture_message("toolarge"), ResultTooLarge)
    assert desk.results("toolarge") == []


async def test_a_deadline_counts_from_when_the_message_was_put_on_the_queue(
    desk: Desk, service: InferenceService
) -> None:
    answering = desk.answering(service)
    late = picture_message("late", age=100, application_properties={"deadline_ms": 50_000})
    await refused(answering, late, DeadlineExceeded)
    await answering.answer(picture_message("early", age=100, application_properties={"deadline_ms": 500_000}))
    assert seen(desk.result("early")) == ORANGE


async def test_a_message_whose_time_to_live_has_passed_is_not_answered_nor_fetched(
    desk: Desk, service: InferenceService
) -> None:
    url = desk.storage.put("shots/stale.png", solid(RED))
    before = len(desk.storage.seen)
    message = envelope_message("stale", {"image_url": url}, age=100, ttl=50)
    assert "time to live" in await refused(desk.answering(service), message, DeadlineExceeded)
    assert len(desk.storage.seen) == before


@pytest.mark.parametrize(
    ("ttl", "deadline_ms", "most"),
    [(3000, None, 2000), (None, 2_500_000, 1500), (3000, 2_500_000, 1500), (2500, 3_000_000, 1500), (None, None, 3600)],
)
async def test_the_earlier_of_expiry_and_deadline_counts(ttl: int | None, deadline_ms: int | None, most: int) -> None:
    remaining = _deadline(received(b"x", age=1000, ttl=ttl), deadline_ms).remaining()
    assert most - 100 < remaining < most + 1  # enqueued times are whole milliseconds


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (picture_message("e1", application_properties={"model": "none"}), ModelNotFound),
        (picture_message("e2", application_properties={"version": "9"}), ModelNotFound),
        (received(b"no picture at all", content_type="image/png", message_id="e3"), UnsupportedImage),
        (received(solid(RED)[:60], content_type="image/png", message_id="e4"), InvalidImage),
        (received(bytes(60_000), content_type="image/png", message_id="e5"), PayloadTooLarge),
        (received(b"", content_type="image/png", message_id="e6"), InvalidMessage),
        (envelope_message("e7", {"image_url": "https://evil.net/shots/1.png"}), SourceRefused),
        (envelope_message("e8", {"image_url": "ACCOUNT/shots/none.png"}), SourceNotFound),
        (envelope_message("e9", {"image_url": "ACCOUNT/shots/large.png"}), PayloadTooLarge),
        (envelope_message("e10", {"image_url": "ACCOUNT/shots/empty.png"}), InvalidMessage),
    ],
)
async def test_what_cannot_be_answered_raises_its_error_and_leaves_no_result(
    desk: Desk, service: InferenceService, message: ServiceBusReceivedMessage, error: type[RequestError]
) -> None:
    desk.storage.put("shots/large.png", bytes(60_000))
    desk.storage.put("shots/empty.png", b"")
    body = b"".join(message.body)
    if b"ACCOUNT" in body:
        fields = json.loads(body.replace(b"ACCOUNT", desk.storage.account.encode()))
        message = envelope_message(str(message.message_id), fields)
    assert await refused(desk.answering(service), message, error)
    assert desk.results(str(message.message_id)) == []
