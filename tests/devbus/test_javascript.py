"""The JavaScript SDK, unmodified, does with devbus what its samples do with Azure."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from app.devbus.broker import Broker

FOLDER = Path(__file__).parents[1] / "javascript"
QUEUES = [
    *("plain", "many", "batch", "stream", "iterate", "anonymous", "abandon", "defer", "dead", "again", "renew", "peek"),
    *("schedule", "scheduled", "gone", "dedup,dedup=60", "expire,dlq_expired", "kinds", "sessions,sessions"),
    *("forbidden", "full,full=1", "brief,lock=0.5"),
]
SCENARIOS = re.findall(r"^  async (\w+)\(\)", (FOLDER / "scenarios.mjs").read_text(), re.MULTILINE)


def node() -> str:
    """The path of Node.js, with the SDK in its place; skips the test where it is missing, and fails it in CI."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if (found is None or npm is None) and os.environ.get("CI"):
        pytest.fail("Node.js is missing")
    if found is None or npm is None:
        pytest.skip("Node.js is not installed")
    if not (FOLDER / "node_modules" / "@azure").is_dir():
        subprocess.run([npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=FOLDER, check=True)
    return found


async def test_every_scenario_of_the_javascript_sdk() -> None:
    async with Broker(QUEUES, {"topic": ["one", "two"]}) as broker:
        broker.forbid("forbidden")
        command = (node(), str(FOLDER / "scenarios.mjs"), broker.connection_string)
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        try:
            async with asyncio.timeout(120):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    ended = {line["name"]: line["error"] for line in map(json.loads, output.decode().splitlines())}
    assert ended == dict.fromkeys(SCENARIOS)
    assert len(SCENARIOS) == 27


def test_the_lock_names_no_registry() -> None:
    assert '"resolved"' not in (FOLDER / "package-lock.json").read_text()
