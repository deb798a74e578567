"""`roo-vision dead-letters`: what an operator sees, sends again and drops; and that nothing is lost by a kill."""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient

from app.commands import letters
from app.commands.letters import Choice
from app.devbus.amqp.message import parse
from app.devbus.broker import Broker
from app.devbus.entity import Queue
from app.errors import StartupError
from app.servicebus import dead_letters
from app.settings import Settings
from tests.fixtures.letters import bury
from tests.fixtures.waiting import until_async
from tests.servicebus.wire import octets

DEAD = "jobs/$DeadLetterQueue"


def settings(bus: Broker) -> Settings:
    return Settings(queue="jobs", servicebus_connection_string=bus.connection_string)


def message(number: int, **fields: Any) -> bytes:
    return octets(b"picture %d" % number, message_id=f"m{number}", **fields)


@asynccontextmanager
async def graveyard(count: int = 5, *queues: str) -> AsyncIterator[Broker]:
    """A broker with so many dead letters of each of two reasons, `m0` and so on, one after the other."""
    async with Broker(queues or ["jobs,lock=60"]) as bus:
        for number in range(count):
            bury(bus, message(2 * number), reason="InvalidImage", description="It is cut short.")
            bury(bus, message(2 * number + 1), reason="ModelNotFound", description="There is none.")
        yield bus


def ids(bus: Broker, queue: str) -> list[str]:
    return [str(entry.message_id) for entry in bus.queue(queue).peek()]


async def listed(bus: Broker, capsys: pytest.CaptureFixture[str], **wanted: Any) -> list[dict[str, Any]]:
    arguments = {"reason": None, "limit": 100, **wanted}
    await letters.print_list(settings(bus), as_json=True, **arguments)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def resubmit(bus: Broker, which: str | None = None, reason: str | None = None, window: float | None = 0) -> bool:
    choice = Choice.of(which, reason, everything=which is None and reason is None)
    return await letters.resubmit(settings(bus), choice, window, as_json=True)


async def drop(bus: Broker, which: str | None = None, reason: str | None = None, *, ask: bool = False) -> bool:
    choice = Choice.of(which, reason, everything=which is None and reason is None)
    return await letters.drop(settings(bus), choice, as_json=False, ask=ask)


async def test_the_list_tells_what_an_operator_needs_the_oldest_first(capsys: pytest.CaptureFixture[str]) -> None:
    async with graveyard(2) as bus:
        bury(bus, message(9, application_properties={"robot_id": "r7"}), reason="X", description="link?sig=abc&e")
        found = await listed(bus, capsys)
        assert [line["message_id"] for line in found] == ["m0", "m1", "m2", "m3", "m9"]
        assert [line["sequence_number"] for line in found] == sorted(line["sequence_number"] for line in found)
        assert found[0] | {"age_seconds": 0} == {
            "sequence_number": found[0]["sequence_number"],
            "message_id": "m0",
            "reason": "InvalidImage",
            "description": "It is cut short.",
            "delivery_count": 0,
            "age_seconds": 0,
            "robot_id": None,
        }
        assert (found[-1]["robot_id"], found[-1]["description"]) == ("r7", "link?sig=…&e")
        assert [line["message_id"] for line in await listed(bus, capsys, reason="ModelNotFound")] == ["m1", "m3"]


async def test_the_list_is_bounded_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    async with graveyard(2) as bus:
        await letters.print_list(settings(bus), None, 3, as_json=False)
        printed = capsys.readouterr()
        assert "m2" in printed.out
        assert "m3" not in printed.out
        assert "there are more" in printed.err


async def test_a_robots_id_is_found_in_an_envelope_and_obeyed_by_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with Broker(["jobs"]) as bus:
        envelope = json.dumps({"robot_id": "\x1b[31mr7", "surprise": 1}).encode()
        bury(bus, octets(envelope, content_type="application/json", message_id="\x1b[2Jm"))
        await letters.print_list(settings(bus), None, 3, as_json=False)
        printed = capsys.readouterr().out
        assert "r7" in printed
        assert "\x1b[31m" not in printed
        assert "\x1b[2J" not in printed


async def test_one_letter_is_shown_whole_and_its_body_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with graveyard(2) as bus:
        body = tmp_path / "picture"
        await letters.print_one(settings(bus), "m2", body, as_json=False)
        printed = capsys.readouterr().out
        assert "It is cut short." in printed
        assert body.read_bytes() == b"picture 2"
        with pytest.raises(StartupError, match="no dead letter"):
            await letters.print_one(settings(bus), "m77", None, as_json=False)


async def test_a_copy_is_as_its_sender_sent_it() -> None:
    fields: dict[str, Any] = {
        "application_properties": {"robot_id": "r7", "deadline_ms": 600_000},
        "content_type": "image/png",
        "correlation_id": "c",
        "subject": "s",
        "to": "t",
        "reply_to": "results",
        "reply_to_group_id": "rs",
        "group_id": "robot",
    }
    async with Broker(["jobs,lock=60"]) as bus:
        bury(bus, message(1, **fields))
        assert await resubmit(bus, "m1")
        async with (
            ServiceBusClient.from_connection_string(bus.connection_string) as client,
            client.get_queue_receiver("jobs") as receiver,
        ):
            (copy,) = await receiver.receive_messages(1, max_wait_time=20)
        names = {"group_id": "session_id", "reply_to_group_id": "reply_to_session_id"}
        properties = fields.pop("application_properties")
        assert {name: getattr(copy, names.get(name, name)) for name in fields} == fields
        assert copy.application_properties == {name.encode(): _encoded(value) for name, value in properties.items()}
        assert (copy.message_id, b"".join(copy.body)) == ("m1", b"picture 1")


def _encoded(value: object) -> object:
    """As the SDK gives it."""
    return value.encode() if isinstance(value, str) else value


@pytest.mark.parametrize("message_id", [0, 7, "0123", "ünì"])
async def test_an_id_stays_what_it_is(message_id: Any) -> None:
    async with Broker(["jobs,lock=60"]) as bus:
        bury(bus, octets(b"x", message_id=message_id))
        assert await resubmit(bus)
        (entry,) = bus.queue("jobs").peek()
        assert entry.message.message_id == str(message_id)  # a number means the same, here and to Service Bus


async def test_one_from_the_midst_is_sent_again_and_the_others_are_as_they_were() -> None:
    async with graveyard(20) as bus:
        before = {entry.message_id: entry.delivery_count for entry in bus.queue(DEAD).peek()}
        assert await resubmit(bus, "m33")
        assert ids(bus, "jobs") == ["m33"]
        after = bus.queue(DEAD).peek()
        assert {entry.message_id for entry in after} == before.keys() - {"m33"}
        assert all(entry.delivery_count == before[entry.message_id] for entry in after)
        await until_async(lambda: bus.queue(DEAD).depths.locked == 0)


async def test_those_that_are_only_held_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[Any] = []
    give_back = dead_letters._give_back

    async def seen(link: Any, others: Any) -> None:
        held.extend(others)
        await give_back(link, others)

    monkeypatch.setattr(dead_letters, "_give_back", seen)
    async with graveyard(20) as bus:
        assert await drop(bus, "m39")
        assert len(held) == 39
        for item in held:
            assert item.message._message.data is None
            assert item.message._raw_amqp_message._data_body is None
        dead = bus.queue(DEAD)
        await until_async(lambda: dead.depths.locked == 0)
        assert [bytes(entry.body) for entry in dead.peek()] == [b"picture %d" % number for number in range(39)]
        assert {entry.delivery_count for entry in dead.peek()} == {0}


async def test_a_sequence_number_comes_before_a_message_id_and_an_id_must_be_one_letters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with graveyard(1) as bus:
        first, second = [line["sequence_number"] for line in await listed(bus, capsys)]
        bury(bus, octets(b"x", message_id=str(first)))
        assert await resubmit(bus, str(first))
        assert ids(bus, "jobs") == ["m0"]
        bus.queue("jobs").take()
        bury(bus, message(1))
        with pytest.raises(StartupError, match=str(second)):
            await resubmit(bus, "m1")


async def test_those_of_a_reason_and_all() -> None:
    async with graveyard(20) as bus:
        assert await resubmit(bus, reason="ModelNotFound")
        assert set(ids(bus, "jobs")) == {f"m{number}" for number in range(1, 40, 2)}
        assert set(ids(bus, DEAD)) == {f"m{number}" for number in range(0, 40, 2)}
        assert await resubmit(bus)
        assert Counter(ids(bus, "jobs")) == Counter(f"m{number}" for number in range(40))
        assert ids(bus, DEAD) == []


async def test_a_body_is_written_to_a_new_file_only(tmp_path: Path) -> None:
    (tmp_path / "shelf.jpg").write_bytes(b"mine")
    async with graveyard(1) as bus:
        with pytest.raises(StartupError, match=r"shelf\.jpg exists already"):
            await letters.print_one(settings(bus), "m1", tmp_path / "shelf.jpg", as_json=True)
    assert (tmp_path / "shelf.jpg").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("queue", "words"),
    [
        ("nowhere", "There is no queue or subscription 'nowhere'"),
        ("t/subs/s", "A subscription is named t/subscriptions/s."),
    ],
)
async def test_an_unknown_queue_is_called_so(queue: str, words: str) -> None:
    async with graveyard(0) as bus:
        with pytest.raises(StartupError, match=words) as error:
            await letters.print_list(settings(bus).model_copy(update={"queue": (queue,)}), None, 1, as_json=True)
        assert "again" not in str(error.value)


async def test_dropping_asks_first(capsys: pytest.CaptureFixture[str]) -> None:
    async with graveyard(3) as bus:
        with pytest.raises(StartupError, match="--yes"):
            await drop(bus, reason="ModelNotFound", ask=True)
        assert len(ids(bus, DEAD)) == 6
        assert await drop(bus, reason="ModelNotFound")
        assert ids(bus, DEAD) == ["m0", "m2", "m4"]
        assert "3 dropped" in capsys.readouterr().out
        assert ids(bus, "jobs") == []


async def test_what_the_queue_does_not_take_stays_and_the_others_go(capsys: pytest.CaptureFixture[str]) -> None:
    async with Broker(["jobs,lock=60,full=3"]) as bus:
        bury(bus, *(message(number) for number in range(3)))
        bus.queue("jobs").send(parse(message(77)), time.time())
        assert not await resubmit(bus)
        told = json.loads(capsys.readouterr().out)
        assert len(told["resubmitted"]) == 2
        assert "maximum entity size" in told["stay"][0]["why"]
        assert len(ids(bus, DEAD)) == 1
        await until_async(lambda: bus.queue(DEAD).depths.locked == 0)


async def test_one_that_cannot_be_copied_stays_and_the_others_go(capsys: pytest.CaptureFixture[str]) -> None:
    async with graveyard(2) as bus:
        bury(bus, message(9, application_properties={"cell": b"\xff"}), message(10))
        assert not await resubmit(bus)
        assert "its property 'cell' is bytes that are no text" in capsys.readouterr().out
        assert ids(bus, DEAD) == ["m9"]
        assert sorted(ids(bus, "jobs")) == ["m0", "m1", "m10", "m2", "m3"]
        assert await drop(bus)
        assert ids(bus, DEAD) == []


async def test_a_queue_that_takes_nothing_is_said_and_all_stay() -> None:
    async with graveyard(3, "jobs,lock=60,full=2") as bus:
        for number in (77, 78):
            bus.queue("jobs").send(parse(message(number)), time.time())
        with pytest.raises(StartupError, match="maximum entity size"):
            await resubmit(bus)
        assert len(ids(bus, DEAD)) == 6
        await until_async(lambda: bus.queue(DEAD).depths.locked == 0)


async def test_a_copy_that_duplicate_detection_would_drop_is_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    """Its letter would be removed, and the broker would have dropped the copy: lost."""
    async with graveyard(2, "jobs,lock=60,dedup=600") as bus:
        with pytest.raises(StartupError, match="--duplicate-window"):
            await resubmit(bus, window=None)
        assert not await resubmit(bus, window=600)
        assert "as a duplicate" in json.loads(capsys.readouterr().out)["stay"][0]["why"]
        assert len(ids(bus, DEAD)) == 4


async def test_a_letter_that_somebody_else_has_locked_is_told_and_stays(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "_PATIENCE", 1.0)
    async with (
        graveyard(1) as bus,
        ServiceBusClient.from_connection_string(bus.connection_string) as client,
        client.get_queue_receiver("jobs", sub_queue=ServiceBusSubQueue.DEAD_LETTER) as other,
    ):
        (taken,) = await other.receive_messages(1, max_wait_time=20)
        assert taken.message_id == "m0"
        assert not await resubmit(bus)
        assert "somebody else" in json.loads(capsys.readouterr().out)["stay"][0]["why"]
        assert (ids(bus, "jobs"), ids(bus, DEAD)) == (["m1"], ["m0"])


@pytest.mark.parametrize("said", [(None, None, False), ("1", "x", False), (None, "x", True), ("1", None, True)])
def test_exactly_one_choice_is_to_be_said(said: tuple[str | None, str | None, bool]) -> None:
    which, reason, everything = said
    words = (
        r"only one of the three.*--reason, which is all of that reason" if any(said) else "number.*--reason, or --all"
    )
    with pytest.raises(StartupError, match=words):
        Choice.of(which, reason, everything=everything)


async def roo(bus: Broker, *arguments: str) -> asyncio.subprocess.Process:
    environment = {**os.environ, "ROO_SERVICEBUS_CONNECTION_STRING": bus.connection_string, "ROO_QUEUE": "jobs"}
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "app", "dead-letters", *arguments)
    return await asyncio.create_subprocess_exec(*command, env=environment, stdout=pipe, stderr=pipe)


@pytest.mark.parametrize("dedup", ["", ",dedup=600"])
async def test_a_kill_half_way_loses_nothing_and_the_next_run_ends_it(dedup: str) -> None:
    """At several moments: copies are stored, and not all letters, or none, are removed."""
    count = 60
    everything = {f"m{number}" for number in range(count)}
    async with Broker([f"jobs,lock=3{dedup}"]) as bus:
        bury(bus, *(message(number) for number in range(count)))
        if dedup:
            _forget_ids(bus.queue("jobs"))
        for copies in (1, 30):
            bus.faults.set(settlement_delay=0.2)
            process = await roo(bus, "resubmit", "--all", "--duplicate-window", "0")
            await until_async(lambda copies=copies: len(set(ids(bus, "jobs"))) >= copies)
            process.kill()
            await process.communicate()
            assert set(ids(bus, "jobs")) | set(ids(bus, DEAD)) == everything
        assert ids(bus, DEAD), "the last kill came in the midst"
        bus.faults.set(settlement_delay=0.0)
        await until_async(lambda: bus.queue(DEAD).depths.locked == 0)
        process = await roo(bus, "resubmit", "--all", "--duplicate-window", "0", "--json")
        out, err = await process.communicate()
        assert (process.returncode, json.loads(out)["stay"]) == (0, []), err.decode()
        assert (set(ids(bus, "jobs")), ids(bus, DEAD)) == (everything, [])
        if dedup:
            assert len(ids(bus, "jobs")) == count


def _forget_ids(queue: Queue) -> None:
    """As if the window had passed since they were first sent."""
    queue._seen = type(queue._seen)(600)


async def test_the_command_as_a_user_meets_it() -> None:
    async with graveyard(1) as bus:
        for arguments, code, words in (
            (("list",), 0, "ModelNotFound"),
            (("drop", "--all"), 2, "2 dead letters would be removed for good. Say --yes"),
            (("drop", "m1"), 2, "1 dead letter would be removed for good. Say --yes"),
            (("list", "--queue", "nowhere"), 2, "There is no queue or subscription 'nowhere'"),
            (("resubmit",), 2, "--reason"),
            (("drop", "m1", "--yes"), 0, "1 dropped"),
        ):
            process = await roo(bus, *arguments)
            out, err = await process.communicate()
            assert words in (out + err).decode()
            assert (process.returncode, b"Traceback" in err) == (code, False)
