"""The JavaScript SDK, unmodified, does with devbus what its samples do with Azure."""

import asyncio
import json
import os
import re
from pathlib import Path

from azure.servicebus import ServiceBusReceivedMessage

from app.devbus.amqp.message import delivery_sections
from app.devbus.broker import Broker
from app.servicebus.message import read_job
from tests.fixtures.javascript import FOLDER, node
from tests.fixtures.pictures import solid

DOCUMENT = Path(__file__).parents[2] / "docs" / "queue.md"
QUEUES = [
    *("plain", "many", "batch", "stream", "iterate", "anonymous", "abandon", "defer", "dead", "again", "renew", "peek"),
    *("schedule", "scheduled", "gone", "dedup,dedup=60", "expire,dlq_expired", "kinds"),
    *("sessions,sessions", "nobody,sessions", "brief-sessions,sessions,lock=0.5"),
    *("forbidden", "full,full=1", "brief,lock=0.5"),
]
SCENARIOS = re.findall(r"^  async (\w+)\(\)", (FOLDER / "scenarios.mjs").read_text(), re.MULTILINE)


async def test_every_scenario_of_the_javascript_sdk() -> None:
    async with Broker(QUEUES, {"topic": ["one", "two"]}) as broker:
        broker.forbid("forbidden")
        command = (node(), str(FOLDER / "scenarios.mjs"), broker.connection_string)
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(120):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    ended = {line["name"]: line["error"] for line in map(json.loads, output.decode().splitlines())}
    assert ended == dict.fromkeys(SCENARIOS)
    assert len(SCENARIOS) == 29


async def test_the_example_in_the_document_sends_what_is_understood(tmp_path: Path) -> None:
    """What arrives is a picture and an envelope, also where the envelope was made JSON before the SDK did it."""
    (block,) = re.findall(r"^```js\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    twice = block.replace("body: { image_url:", "body: JSON.stringify({ image_url:").replace('"r7" },', '"r7" }),')
    assert twice != block
    picture = solid((90, 60, 30), (320, 240), "JPEG")
    (tmp_path / "shelf.jpg").write_bytes(picture)
    (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
    found = node()
    for text in (block, twice):
        (tmp_path / "example.mjs").write_text(text)
        async with Broker(["jobs"]) as broker:
            environment = {**os.environ, "SERVICEBUS_CONNECTION_STRING": broker.connection_string}
            process = await asyncio.create_subprocess_exec(found, "example.mjs", cwd=tmp_path, env=environment)
            async with asyncio.timeout(60):
                assert await process.wait() == 0
            entries = broker.queue("jobs").peek()
        raw, envelope = (
            read_job(ServiceBusReceivedMessage.from_bytes(b"".join(delivery_sections(entry.message, 0, {}))), 10**6)
            for entry in entries
        )
        assert (raw.image, raw.options.robot_id, raw.options.deadline_ms) == (picture, "r7", 600_000)
        assert envelope.image_url == "https://robots.blob.core.windows.net/shots/r7/000126.jpg"
        assert envelope.options.robot_id == "r7"


def test_the_lock_names_no_registry() -> None:
    assert '"resolved"' not in (FOLDER / "package-lock.json").read_text()
