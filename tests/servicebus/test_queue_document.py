"""What docs/queue.md says is so: its tables are the code's, and its examples are understood."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusReceivedMessage

from app.devbus.amqp.message import delivery_sections
from app.devbus.broker import Broker
from app.errors import InvalidImage
from app.servicebus.failure_reports import report_of
from app.servicebus.message import MessageOptions, read_job
from app.servicebus.settlement import VERBS, Verb
from app.sinks.signing import signature
from app.wire.prediction import Prediction
from tests.fixtures.pictures import solid
from tests.servicebus.wire import received

TEXT = (Path(__file__).parents[2] / "docs" / "queue.md").read_text()
WORDS = {
    Verb.COMPLETE: "completed",
    Verb.DEAD_LETTER: "dead-lettered",
    Verb.ABANDON: "abandoned",
    Verb.RELEASE: "released",
    Verb.LEAVE: "left alone",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)
    return [line.split(" | ") for line in lines[2:]]


def test_the_settlement_table_is_the_one_that_is_used() -> None:
    documented = {name.strip("`"): verb for name, verb, _ in rows("What becomes of a message") if name.startswith("`")}
    assert documented == {kind.__name__: WORDS[verb] for kind, verb in VERBS.items()}


def test_a_message_has_as_many_deliveries_wherever_a_queue_is_described() -> None:
    root = Path(__file__).parents[2]
    (documented,) = (value for name, value, _ in rows("Setting it up") if name == "maximum delivery count")
    places = {
        "infra/servicebus.bicep": r"maxDeliveryCount: (\d+)",
        "k8s/README.md": r"--max-delivery-count (\d+)",
        "k8s/overlays/local/devbus.yaml": r"max_delivery=(\d+)",
        "docs/devbus.md": r"--queue jobs,lock=30,max_delivery=(\d+)",
    }
    found = {place: re.findall(pattern, (root / place).read_text()) for place, pattern in places.items()}
    assert all(found.values())
    assert {count for counts in found.values() for count in counts} == {documented}


def test_every_option_is_documented() -> None:
    assert {name.strip("`") for name, _ in rows("Options")} == set(MessageOptions.model_fields)


def test_the_documented_problem_has_every_field() -> None:
    _, example = (json.loads(block) for block in blocks("json"))
    report, _ = report_of(received(b"x", message_id="m"), InvalidImage("It is cut short."), "jobs")
    body = json.loads(b"".join(report.body))
    assert list(example) == list(body)
    assert {name: example[name] for name in ("type", "title", "code")} == {
        name: body[name] for name in ("type", "title", "code")
    }


def test_the_documented_result_has_every_field() -> None:
    example, _ = (json.loads(block) for block in blocks("json"))
    assert set(example) == {*Prediction.model_fields, "robot_id", "image_url", "annotated_url"}
    Prediction.model_validate({name: example[name] for name in Prediction.model_fields})


def test_every_example_compiles() -> None:
    assert len(blocks("python")) == 4
    for block in blocks("python"):
        compile(block, "docs/queue.md", "exec")


def test_the_documented_receiver_knows_what_is_ours() -> None:
    names: dict[str, Any] = {}
    (receiver,) = (block for block in blocks("python") if "def is_ours" in block)
    exec(receiver, names)
    now, secret = int(time.time()), "0123456789abcdef"
    header = signature([b"another, older secret", secret.encode()], b"{}", now)
    assert names["is_ours"](header, b"{}", secret)
    assert not names["is_ours"](header, b"[]", secret)
    assert not names["is_ours"](header, b"{}", "fedcba9876543210")
    assert not names["is_ours"](signature([secret.encode()], b"{}", now - 400), b"{}", secret)


async def test_the_examples_send_what_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "shelf.jpg").write_bytes(picture := solid((90, 60, 30), (320, 240), "JPEG"))
    monkeypatch.chdir(tmp_path)
    async with Broker(["jobs"]) as broker:
        monkeypatch.setenv("SERVICEBUS_CONNECTION_STRING", broker.connection_string)
        sending = [block for block in blocks("python") if "get_queue_sender" in block]
        await asyncio.gather(*(asyncio.to_thread(exec, block, {}) for block in sending))
        entries = sorted(broker.queue("jobs").peek(), key=lambda entry: str(entry.message_id))
    raw, envelope = (
        read_job(ServiceBusReceivedMessage.from_bytes(b"".join(delivery_sections(entry.message, 0, {}))), 10**6)
        for entry in entries
    )
    assert (raw.image, raw.options.robot_id, raw.options.deadline_ms) == (picture, "r7", 600_000)
    assert envelope.image_url == "https://robots.blob.core.windows.net/shots/r7/000124.jpg"
    assert (envelope.options.model, envelope.options.score_threshold) == ("shelf", 0.4)
