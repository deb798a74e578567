"""`roo-vision send`: pictures on the queue, results as they come, and what is missing said with its reason."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from azure.servicebus import ServiceBusMessage

from app.commands import send
from app.devbus.broker import Broker
from app.devbus.limits import BrokerLimits
from app.errors import StartupError
from app.servicebus import robot as robots
from app.servicebus.connection import Access
from app.servicebus.robot import Robot
from app.settings import Settings
from tests.fixtures.engines import MeanColourEngine
from tests.fixtures.pictures import solid
from tests.fixtures.queue import put, working
from tests.fixtures.service import colour_model, running
from tests.fixtures.waiting import until_async


@pytest.mark.parametrize(("text", "rate"), [("600/min", 10.0), ("2.5/s", 2.5), ("4", 4.0), (None, None)])
def test_rates(text: str | None, rate: float | None) -> None:
    assert send.read_rate(text) == rate


@pytest.mark.parametrize("text", ["fast", "0/s", "-1", "10/hour", ""])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(StartupError, match="--rate"):
        send.read_rate(text)


@pytest.mark.parametrize("settings", [{}, {"queue": "jobs", "servicebus_connection_string": "x"}])
def test_what_is_missing_is_asked_for(settings: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"ROO_(QUEUE|RESULTS_QUEUE)"):
        send.run(send.Errand([tmp_path / "a.png"], None, wait=True, properties={}), Settings(**settings))


async def test_pictures_are_sent_and_their_results_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{name}.png" for name in ("red", "green")]
    for name, colour in zip(names, ((255, 0, 0), (0, 255, 0)), strict=True):
        (tmp_path / name).write_bytes(solid(colour))
    (tmp_path / "bad.png").write_bytes(b"this is no picture")
    queues = ["jobs,lock=60", "results,dedup=60"]
    with running(colour_model(MeanColourEngine())) as service:
        async with Broker(queues, limits=BrokerLimits(max_message_size=4 << 20)) as broker, working(service, broker):
            settings = Settings(
                queue="jobs", results_queue="results", servicebus_connection_string=broker.connection_string
            )
            good = send.Errand([tmp_path / name for name in names], 20.0, wait=True, properties={"robot_id": "r1"})
            assert await asyncio.to_thread(send.run, good, settings)
            printed = capsys.readouterr().out
            assert "red.png" in printed
            assert "green 1.00" in printed


async def test_any_name_of_a_file_makes_an_id_that_a_message_may_have(tmp_path: Path) -> None:
    names = [os.fsdecode(b"bad\xff.png"), "two\nlines.png", f"{'ü' * 100}{'x' * 50}.png"]
    for name in names:
        (tmp_path / name).write_bytes(solid((255, 0, 0)))
    async with Broker(["jobs,lock=60"]) as broker:
        settings = Settings(queue="jobs", servicebus_connection_string=broker.connection_string)
        errand = send.Errand([tmp_path / name for name in names], None, wait=False, properties={})
        assert await asyncio.to_thread(send.run, errand, settings)
        ids = [str(message.message_id) for message in broker.queue("jobs").peek()]
    assert [each[:11] for each in ids] == ["bad\\xff.png", "two\\x0aline", "ü" * 11]
    assert [each[-2:] for each in ids] == ["-0", "-1", "-2"]
    assert max(map(len, ids)) == 128


async def test_a_picture_that_no_message_holds_is_named_with_the_way_round_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "small.png").write_bytes(solid((255, 0, 0)))
    (tmp_path / "large.png").write_bytes(solid((255, 0, 0)) + bytes(300_000))
    async with Broker(["jobs,lock=60", "results"]) as broker:
        settings = Settings(
            queue="jobs", results_queue="results", servicebus_connection_string=broker.connection_string
        )
        errand = send.Errand([tmp_path / "small.png", tmp_path / "large.png"], None, wait=True, properties={})
        with pytest.raises(StartupError, match=r"large\.png-.*more than a message of 'jobs' may have.*image_url"):
            await asyncio.to_thread(send.run, errand, settings)
        assert broker.queue("jobs").depths.active == 1
    assert "Traceback" not in capfd.readouterr().err + caplog.text


async def test_a_picture_without_a_result_is_told_with_its_reason_as_soon_as_it_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "_PATIENCE", 3600.0)
    monkeypatch.setattr(robots, "_PEEKED", 2)  # the letter is behind older ones of others
    (tmp_path / "bad.png").write_bytes(b"this is no picture")
    queues = ["jobs,lock=60", "results,dedup=60"]
    with running(colour_model(MeanColourEngine())) as service:
        async with Broker(queues, limits=BrokerLimits(max_message_size=4 << 20)) as broker, working(service, broker):
            settings = Settings(
                queue="jobs", results_queue="results", servicebus_connection_string=broker.connection_string
            )
            await put(broker, [ServiceBusMessage("no picture", message_id=f"other-{number}") for number in range(5)])
            await until_async(lambda: broker.queue("jobs").depths.dead_lettered == 5)
            errand = send.Errand([tmp_path / "bad.png"], None, wait=True, properties={})
            assert not await asyncio.to_thread(send.run, errand, settings)
            assert "UnsupportedImage" in capsys.readouterr().err


async def test_results_of_others_stay_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(solid((255, 0, 0)))
    errand = send.Errand([tmp_path / "red.png"], None, wait=True, properties={})
    other = ServiceBusMessage("{}", correlation_id="other", message_id="other")
    with running(colour_model(MeanColourEngine())) as service:
        async with Broker(["jobs,lock=60", "results,dedup=60"]) as broker, working(service, broker):
            settings = Settings(
                queue="jobs", results_queue="results", servicebus_connection_string=broker.connection_string
            )
            await put(broker, [other], "results")
            with pytest.raises(StartupError, match=r"results of other messages.*--take-all"):
                await asyncio.to_thread(send.run, errand, settings)
            assert (broker.queue("jobs").depths.total, broker.queue("results").depths.total) == (0, 1)
            assert await asyncio.to_thread(send.run, replace(errand, take_all=True), settings)
            assert broker.queue("results").depths.total == 0


@pytest.mark.parametrize(
    ("queue", "results", "words"),
    [
        ("ordered", None, "'ordered' requires sessions: say with --session"),
        ("shots/subscription/vision", None, "A subscription is named shots/subscriptions/vision."),
        ("jobs", "nowhere", "No results come from 'nowhere': MessagingEntityNotFoundError"),
    ],
)
async def test_queues_that_do_not_take_it_are_told_with_the_cure(
    queue: str, results: str | None, words: str, tmp_path: Path
) -> None:
    (tmp_path / "red.png").write_bytes(solid((255, 0, 0)))
    errand = send.Errand([tmp_path / "red.png"], None, wait=results is not None, properties={})
    async with Broker(["jobs", "ordered,sessions"]) as broker:
        settings = Settings(queue=queue, results_queue=results, servicebus_connection_string=broker.connection_string)
        with pytest.raises(StartupError, match=words):
            await asyncio.to_thread(send.run, errand, settings)


async def test_a_result_of_others_that_comes_meanwhile_is_given_back() -> None:
    async with Broker(["jobs", "results"]) as broker:
        async with Robot(Access(None, broker.connection_string), "jobs", "results", own_only=True) as robot:
            await put(broker, [ServiceBusMessage("{}", correlation_id="other", message_id="other")], "results")
            with pytest.raises(StartupError, match="results of other messages"):
                await anext(robot.replies())
        assert broker.queue("results").depths.active == 1


@pytest.mark.parametrize(
    ("queue", "settings"),
    [
        ("jobs", {"queue_sessions": 2}),
        ("shots/subscriptions/vision", {}),
        ("shots/subscriptions/rows", {"queue_sessions": 2}),
    ],
)
async def test_pictures_go_into_a_session_and_to_a_subscriptions_topic(
    queue: str, settings: dict[str, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "red.png").write_bytes(solid((255, 0, 0)))
    with running(colour_model(MeanColourEngine())) as service:
        async with (
            Broker(["jobs,sessions", "results"], {"shots": ["vision", "rows,sessions"]}) as broker,
            working(service, broker, queue=queue, **settings),
        ):
            known = Settings(
                queue=queue, results_queue="results", servicebus_connection_string=broker.connection_string
            )
            errand = send.Errand([tmp_path / "red.png"] * 2, None, wait=True, properties={}, session="r7")
            assert await asyncio.to_thread(send.run, errand, known)
            assert len(capsys.readouterr().out.splitlines()) >= 2
