"""A real Prometheus looks at a real service: every panel of the dashboard has something to show."""

import contextlib
import json
import math
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from azure.servicebus import ServiceBusMessage

from app.devbus.broker import Broker
from tests.deploy.places import KUBERNETES
from tests.deploy.prometheus import promtool, tool
from tests.deploy.test_alerts import documented
from tests.e2e.test_queue import bus, working
from tests.fixtures.models import add_versions
from tests.fixtures.pictures import solid
from tests.fixtures.queue import picture, put
from tests.fixtures.waiting import PATIENCE, until, until_async

DASHBOARD = json.loads((KUBERNETES / "components" / "monitoring" / "dashboard.json").read_text())
LOOKS = "count_over_time(roo_ready[1h])"
VARIABLES = {"$namespace": "roo", "$pod": ".*", "$__rate_interval": "10s"}


def queries(*, gpu: bool) -> dict[str, str]:
    """Expression by the panel's title and the curve's name; those of the row `GPU`, or all others."""
    found, row = {}, ""
    for panel in DASHBOARD["panels"]:
        row = panel["title"] if panel["type"] == "row" else row
        for target in panel.get("targets", []):
            if (row == "GPU") == gpu:
                found[f"{panel['title']}: {target['legendFormat']}"] = _filled(target["expr"])
    return found


def _filled(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


@contextlib.contextmanager
def prometheus(port: int, folder: Path) -> Iterator[httpx.Client]:
    """A Prometheus that looks at a service on `port` every second, under the labels that a pod would have."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        own = free.getsockname()[1]
    target = {"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": "roo", "pod": "a"}}
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [{"job_name": "roo", "static_configs": [target]}]}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    arguments = [f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"]
    command = [tool("prometheus"), *arguments, f"--web.listen-address=127.0.0.1:{own}"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{own}", timeout=PATIENCE) as client,
    ):
        try:
            until(lambda: _ready(client))
            yield client
        finally:
            process.terminate()


def _ready(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.get("/-/ready").status_code == 200
    return False


def answer(client: httpx.Client, expression: str) -> list[float]:
    """The values that an expression has now; fails the test where Prometheus does not understand it."""
    body: dict[str, Any] = client.get("/api/v1/query", params={"query": expression}).json()
    assert body["status"] == "success", (expression, body)
    values = [float(item["value"][1]) for item in body["data"]["result"]]
    return [value for value in values if not math.isnan(value)]


def ask(client: httpx.Client, turn: int) -> None:
    """Pictures over HTTP, and what is none."""
    for _ in range(5):
        assert client.post("/v1/predict", content=solid((turn % 256, 2, 3))).status_code == 200
    assert client.post("/v1/predict", content=b"no picture").status_code == 415


async def send(broker: Broker, turn: int) -> None:
    """Pictures as messages, and what is none."""
    good = [picture((9, turn % 256, 7), f"{turn}-{number}") for number in range(3)]
    await put(broker, [*good, ServiceBusMessage(b"no picture", content_type="image/png", message_id=f"{turn}-bad")])


@pytest.mark.slow
async def test_every_panel_has_something_to_show(tmp_path: Path) -> None:
    waiting = queries(gpu=False)
    add_versions(tmp_path / "models", traffic={"1": 50, "2": 50}, shadow={"1": 100, "2": 100})
    assert len(waiting) > 30
    async with bus() as broker:
        with (
            working(tmp_path / "models", broker) as server,
            server.client() as client,
            prometheus(server.port, tmp_path) as seen,
        ):
            for turn in range(60):
                ask(client, turn)
                await send(broker, turn)
                looks = answer(seen, LOOKS)
                await until_async(lambda looks=looks: answer(seen, LOOKS) > looks)
                for name in [name for name, expression in waiting.items() if answer(seen, expression)]:
                    del waiting[name]
                if not waiting:
                    break
            assert waiting == {}, server.log[-3000:]


def test_prometheus_understands_what_only_a_gpu_can_show(repository: Path, tmp_path: Path) -> None:
    with prometheus(9, tmp_path) as seen:
        for expression in queries(gpu=True).values():
            assert answer(seen, expression) == []


def test_the_dashboard_names_only_metrics_that_there_are() -> None:
    every = [*queries(gpu=False).values(), *queries(gpu=True).values()]
    named = {name for query in every for name in re.findall(r"(\w+)\{", query)}
    assert named <= documented()
    assert any(name.startswith("roo_gpu_") for name in named)


def test_what_is_served_is_well_formed(repository: Path) -> None:
    from tests.fixtures.server import serving

    with serving(repository, default_model="colour") as server, server.client() as client:
        client.post("/v1/predict", content=solid((1, 2, 3)))
        text = client.get("/metrics").text
    # The Prometheus client's own names (process_*, python_*) are not ours to change.
    own = re.sub(r"^(?:# (?:HELP|TYPE) )?(?:python|process|target)_.*\n", "", text, flags=re.MULTILINE)
    promtool("check", "metrics", given=own)
