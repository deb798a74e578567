"""Log lines: one for each outcome, with its ids, without secrets or pictures, at the level that was asked for."""

import io
import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.devbus.broker import Broker
from app.devbus.limits import BrokerLimits
from app.telemetry import logs
from app.telemetry.log_lines import JsonFormatter, TextFormatter
from tests.fixtures.pictures import solid
from tests.fixtures.queue import picture, put
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import until, until_async

PICTURE = solid((9, 9, 9))
PREDICT = "/v1/models/colour/predict"
SIGNATURE = "abcd%2BSECRET%3D"

Say = Callable[..., dict[str, Any]]


@pytest.fixture
def say() -> Iterator[Say]:
    """Log something; returns the line."""
    stream = io.StringIO()
    writer = logs.Writer(stream, JsonFormatter())
    logger = logging.Logger("app.test")
    logger.addHandler(writer)

    def said(*words: object, **options: Any) -> dict[str, Any]:
        before = len(stream.getvalue().splitlines())
        logger.warning(*words, **options)
        until(lambda: len(stream.getvalue().splitlines()) > before)
        line: dict[str, Any] = json.loads(stream.getvalue().splitlines()[-1])
        return line

    yield said
    writer.close()


LIBJPEGS = ("Corrupt JPEG data", "Premature end of JPEG")
"""What libjpeg itself writes to standard error of a damaged picture; docs/telemetry.md says so."""


def lines(server: Server, **wanted: object) -> list[dict[str, Any]]:
    """The log's lines that say so."""
    found = [json.loads(line) for line in server.lines if not line.startswith(LIBJPEGS)]
    return [line for line in found if wanted.items() <= line.items()]


@pytest.mark.parametrize(
    "text",
    [
        f"GET https://a.blob.core.windows.net/c/x.jpg?sv=2026-01-01&sig={SIGNATURE}&se=2027",
        "Endpoint=sb://n.servicebus.windows.net/;SharedAccessKeyName=root;SharedAccessKey=SECRET=;EntityPath=q",
        "DefaultEndpointsProtocol=https;AccountKey=SECRET==;AccountName=a",
        "{'Authorization': 'Bearer SECRET.SECRET.x'}",
        "Authorization: SharedAccessSignature sr=sb&sig=SECRET&skn=root",
        "token is Bearer SECRET",
        "x-api-key: SECRET",
        "url=https%3A%2F%2Fa%2Fb%3Fsig%3DSECRET",
    ],
)
def test_no_secret_reaches_a_line(say: Say, text: str) -> None:
    line = say("could not: %s", text)
    assert "SECRET" not in json.dumps(line)
    assert "***" in line["message"]
    try:
        raise ValueError(text)
    except ValueError:
        assert "SECRET" not in json.dumps(say("failed", exc_info=True))


def test_what_is_no_secret_is_left_alone(say: Say) -> None:
    text = "the design: fine; assign=1; 3 keys; a significant=figure"
    assert say(text)["message"] == text


def test_a_line_whose_arguments_do_not_fit_is_not_its_callers_failure(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.Logger("app.test")
    logger.addHandler(logs.Writer(io.StringIO(), JsonFormatter()))
    logger.warning("%d pictures", "no number")
    logger.handlers[0].close()
    assert "Logging error" in capsys.readouterr().err


def test_a_line_that_cannot_be_written_does_not_end_the_writer(capsys: pytest.CaptureFixture[str]) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    odd = logging.LogRecord("app.test", logging.INFO, "", 0, "odd", (), None)
    odd.fields = {"thing": Odd()}
    stream = io.StringIO()
    writer = logs.Writer(stream, JsonFormatter())
    writer.emit(odd)
    writer.emit(logging.LogRecord("app.test", logging.INFO, "", 0, "all is well", (), None))
    writer.close()
    assert "all is well" in stream.getvalue()
    assert "Logging error" in capsys.readouterr().err


def test_sinks_are_told_no_secret_either() -> None:
    told: list[str] = []
    writer = logs.Writer(io.StringIO(), JsonFormatter())
    writer.sinks.append(lambda record: told.append(record.message))
    logger = logging.Logger("app.test")
    logger.addHandler(writer)
    logger.warning("SharedAccessKey=SECRET")
    writer.close()
    assert told == ["SharedAccessKey=***"]


def test_a_terminal_is_not_told_what_it_would_obey() -> None:
    stream = io.StringIO()
    writer = logs.Writer(stream, TextFormatter())
    logger = logging.Logger("app.test")
    logger.addHandler(writer)
    logger.warning("message %s\nof two lines", "\x1b[2J\r")
    writer.close()
    assert "message \\x1b[2J\\r\n    of two lines" in stream.getvalue()


def test_more_than_can_be_written_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_LINES", 10)
    monkeypatch.setattr(logs, "GATHER_SECONDS", 60.0)  # nothing is written until the end
    stream = io.StringIO()
    writer = logs.Writer(stream, JsonFormatter())
    logger = logging.Logger("app.test")
    logger.addHandler(writer)
    for number in range(50):
        logger.warning("line %d", number)
    writer.close()
    assert len(stream.getvalue().splitlines()) + writer.dropped == 50
    assert writer.dropped >= 39


class Held(io.StringIO):
    """A stream whose reader is slow: what is written waits until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.may_go_on = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.held.set()
        assert self.may_go_on.wait(30)
        return super().write(text)


def test_what_is_told_while_the_writer_writes_is_written_at_close() -> None:
    stream = Held()
    writer = logs.Writer(stream, TextFormatter())
    logger = logging.Logger("app.test")
    logger.addHandler(writer)
    logger.warning("the first")
    assert stream.held.wait(30)
    logger.warning("the last")
    closing = threading.Thread(target=writer.close)
    closing.start()
    assert writer.closing.wait(30)
    stream.may_go_on.set()
    closing.join()
    assert [line.rpartition(": ")[2] for line in stream.getvalue().splitlines()] == ["the first", "the last"]


def test_what_is_told_after_the_close_is_written_too() -> None:
    stream = io.StringIO()
    writer = logs.Writer(stream, TextFormatter())
    logger = logging.Logger("app.test")
    logger.addHandler(writer)
    writer.close()
    logger.warning("the very last")
    assert "the very last" in stream.getvalue()
    assert writer.dropped == 0


def test_a_flush_returns_when_all_has_been_written() -> None:
    stream = io.StringIO()
    writer = logs.Writer(stream, TextFormatter())
    logger = logging.Logger("app.test")
    logger.addHandler(writer)
    for number in range(1000):
        logger.warning("line %d", number)
    writer.flush()
    assert len(stream.getvalue().splitlines()) == 1000
    writer.close()
    writer.flush()


def test_a_reader_that_has_stopped_reading_holds_no_close_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "CLOSE_SECONDS", 0.01)
    stream = Held()
    writer = logs.Writer(stream, TextFormatter())
    logger = logging.Logger("app.test")
    logger.addHandler(writer)
    logger.warning("nobody reads this")
    assert stream.held.wait(30)
    writer.close()
    logger.warning("nor this")
    assert stream.getvalue() == ""
    stream.may_go_on.set()


def test_the_last_line_of_a_service_is_written(repository: Path) -> None:
    with serving(repository) as server:
        server.terminate()
        assert server.wait() == 0
        assert lines(server, message="stopped")


def test_every_request_has_one_line_with_its_id(server: Server) -> None:
    with server.client() as client:
        assert client.post(PREDICT, content=PICTURE, headers={"x-request-id": "good-1"}).status_code == 200
        assert client.post(f"{PREDICT}?sig=SECRET", content=b"junk", headers={"x-request-id": "bad-1"}).is_error
        assert client.get("/livez", headers={"x-request-id": "probe-1"}).status_code == 200
        client.get("/v1/models", headers={"x-request-id": "last-1"})
    until(lambda: lines(server, request_id="last-1"))
    (good,), (bad,) = lines(server, request_id="good-1"), lines(server, request_id="bad-1")
    assert (good["level"], good["status"], good["route"]) == ("info", 200, "/v1/models/{name}/predict")
    assert good["duration_ms"] > 0
    assert bad["status"] == 400
    assert not lines(server, request_id="probe-1")
    assert "SECRET" not in server.log


def test_the_level_is_switched_while_running(repository: Path) -> None:
    with serving(repository) as server, server.client() as client:
        client.get("/livez")
        server.process.send_signal(signal.SIGUSR1)
        until(lambda: lines(server, message="logging from debug on"))
        client.get("/livez", headers={"x-request-id": "loud"})
        until(lambda: lines(server, request_id="loud", level="debug"))
        server.process.send_signal(signal.SIGUSR1)
        until(lambda: lines(server, message="logging from info on"))
        client.get("/livez", headers={"x-request-id": "quiet"})
        server.terminate()
        assert server.wait() == 0
        assert not lines(server, request_id="quiet")


async def test_every_message_has_one_line_and_no_signature_is_in_any(repository: Path) -> None:
    url = f"https://pictures.blob.core.windows.net/c/x.jpg?sig={SIGNATURE}"
    async with Broker(["jobs,lock=60", "results"], limits=BrokerLimits(max_message_size=8 << 20)) as bus:
        queue = {"queue": "jobs", "results_queue": "results", "servicebus_connection_string": bus.connection_string}
        with serving(repository, default_model="colour", log_level="debug", **queue) as server:
            claim = json.dumps({"image_url": url})
            junk = picture((1, 2, 3), "blob")
            junk = type(junk)(claim, content_type="application/json", message_id="blob")
            await put(bus, [picture((1, 2, 3), "good"), junk])
            await until_async(lambda: lines(server, request_id="good", outcome="complete"))
            await until_async(lambda: lines(server, request_id="blob", outcome="dead_letter"))
    (good,), (dead,) = lines(server, outcome="complete"), lines(server, outcome="dead_letter")
    assert (good["message"], good["level"], good["queue"]) == ("message good: complete", "info", "jobs")
    assert (dead["level"], dead["reason"]) == ("warning", "SourceRefused")
    assert "SECRET" not in server.log
    assert bus.connection_string.partition("SharedAccessKey=")[2].partition(";")[0] not in server.log


def test_what_the_brokers_sdk_says_of_lost_links_is_for_debugging() -> None:
    names = (None, "uvicorn.error", "azure", "azure.servicebus", "urllib3", "asyncio")
    before = {name: logging.getLogger(name).level for name in names}
    sdk = logging.getLogger("azure.servicebus.aio._base_handler_async")
    try:
        logs._set_level(logging.INFO)
        assert not sdk.isEnabledFor(logging.ERROR)
        assert logging.getLogger("azure.core").isEnabledFor(logging.WARNING)
        logs._set_level(logging.DEBUG)
        assert sdk.isEnabledFor(logging.WARNING)
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
