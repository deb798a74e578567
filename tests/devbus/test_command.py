"""The broker as a process of its own."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

COMMAND = [sys.executable, "-m", "app.devbus"]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The process, and the first three lines that it prints."""
    with subprocess.Popen([*COMMAND, "--port", "0", *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, [process.stdout.readline().strip() for _ in range(3)]
        finally:
            process.kill()


async def test_it_serves_says_where_and_stops_when_told() -> None:
    with running("--queue", "jobs,lock=5", "--topic", "events:a,b", "--status-port", "0") as (process, lines):
        warning, connection_string, status = lines
        assert "development" in warning
        async with (
            ServiceBusClient.from_connection_string(connection_string) as client,
            client.get_queue_sender("jobs") as jobs,
            client.get_topic_sender("events") as events,
        ):
            await jobs.send_messages(ServiceBusMessage(b"one"))
            await events.send_messages(ServiceBusMessage(b"two"))
        async with httpx.AsyncClient() as http:
            queues = (await http.get(status.removeprefix("status: ") + "status")).json()["queues"]
        assert {path: depths["active"] for path, depths in queues.items()} == {
            **{"jobs": 1, "events/subscriptions/a": 1, "events/subscriptions/b": 1}
        }
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--queue"),
        (["--queue", "jobs,lok=3"], "lok"),
        (["--topic", "events"], "NAME:SUBSCRIPTION"),
        (["--queue", "jobs", "--queue", "Jobs,lock=5"], "'Jobs' is named twice"),
        (["--queue", "jobs", "--topic", "jobs:all"], "'jobs' is named twice"),
        (["--topic", "events:a", "--topic", "events:b"], "'events' is named twice"),
        (["--topic", "events:a,A"], "'events/Subscriptions/A' is named twice"),
        (["--queue", "jobs", "--host", "203.0.113.1"], "Cannot listen"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: list[str], told: str) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
