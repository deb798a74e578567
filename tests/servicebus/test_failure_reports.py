"""A robot hears why there will be no result; and a report that fails changes nothing about its message."""

import json
from typing import Any

import pytest

from app.devbus.broker import Broker
from app.devbus.entry import Entry
from app.errors import InvalidImage
from app.servicebus import failure_reports
from app.servicebus.failure_reports import report_of
from tests.fixtures.engines import MeanColourEngine
from tests.fixtures.queue import picture, put, working
from tests.fixtures.service import colour_model, running
from tests.fixtures.waiting import until_async
from tests.servicebus.wire import received


def bad(message_id: str, **fields: Any) -> Any:
    return picture((1, 2, 3), message_id, application_properties={"model": "none", "robot_id": "r7"}, **fields)


async def reported(bus: Broker, *messages: Any, **settings: Any) -> list[Entry]:
    """The dead letters, once all messages are among them."""
    with running(colour_model(MeanColourEngine())) as service:
        async with working(service, bus, **({"report_failures": True} | settings)):
            await put(bus, messages)
            await until_async(lambda: bus.queue("jobs").depths.dead_lettered == len(messages))
    assert bus.queue("jobs").peek() == []
    return bus.queue("jobs/$DeadLetterQueue").peek()


async def test_a_problem_goes_where_the_result_would_have_gone() -> None:
    async with Broker(["jobs,lock=30", "results", "private"]) as bus:
        await reported(bus, bad("m1"), bad("m2", reply_to="private", session_id="s", reply_to_session_id="rs"))
        (report,) = bus.queue("results").peek()
        body = json.loads(bytes(report.body))
        assert body.pop("detail").startswith("There is no model")
        assert body == {
            "type": "about:blank",
            "title": "ModelNotFound",
            "code": "model_not_found",
            "request_id": "m1",
            "message_id": "m1",
            "robot_id": "r7",
        }
        assert report.message.correlation_id == "m1"
        assert report.message.application_map["code"] == "model_not_found"
        (private,) = bus.queue("private").peek()
        assert (private.message.correlation_id, private.message.group_id) == ("m2", "rs")


async def test_nothing_is_reported_where_nobody_asked_for_it() -> None:
    async with Broker(["jobs,lock=30", "results"]) as bus:
        await reported(bus, bad("m1"), report_failures=False)
        assert bus.queue("results").peek() == []


async def test_a_destination_that_is_refused_is_told_to_the_operators() -> None:
    async with Broker(["jobs,lock=30", "results"]) as bus:
        await reported(bus, picture((1, 2, 3), "m1", reply_to="nowhere"), picture((1, 2, 3), "m2", reply_to="jobs"))
        codes = [json.loads(bytes(entry.body))["code"] for entry in bus.queue("results").peek()]
        assert codes == ["reply_refused"] * 2


@pytest.mark.parametrize("results", ["results,sessions", "results,full=1", "elsewhere"])
async def test_a_report_that_cannot_be_sent_changes_nothing(results: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_reports, "SECONDS", 0.5)
    async with Broker(["jobs,lock=30", results]) as bus:
        if "full" in results:
            await put(bus, [picture((1, 2, 3), "plug")], "results")
        entries = await reported(bus, bad("m1"), bad("m2"))
        assert {entry.reason for entry in entries} == {"ModelNotFound"}
        assert sorted(entry.message_id for entry in entries) == ["m1", "m2"]


async def test_a_repetition_of_a_failure_is_dropped_by_duplicate_detection() -> None:
    async with Broker(["jobs,lock=30", "results,dedup=600"]) as bus:
        await reported(bus, bad("same"), bad("same"), bad("other"))
        assert len(bus.queue("results").peek()) == 2


def test_the_id_is_of_the_message_and_its_failure() -> None:
    first, second = (received(b"x", message_id=name) for name in ("m1", "m2"))
    made = [report_of(message, InvalidImage(text), "jobs")[0] for message, text in ((first, "a"), (first, "b"))]
    assert made[0].message_id == made[1].message_id
    assert report_of(second, InvalidImage("a"), "jobs")[0].message_id != made[0].message_id


@pytest.mark.parametrize("body", [b'{"robot_id": 7}', b'{"robot_id": "\\u001b[2J"}', b"{", b"\xff\xd8", b""])
def test_whatever_the_message_is_there_is_a_report(body: bytes) -> None:
    report, size = report_of(received(body), InvalidImage("It is cut short."), "jobs")
    assert size == len(b"".join(report.body))
    assert json.loads(b"".join(report.body))["robot_id"] in (None, "7")
