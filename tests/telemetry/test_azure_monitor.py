"""Application Insights, asked for with and without its exporter installed."""

import gzip
import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.otel_settings import OtelSettings
from app.telemetry import logs, setup
from app.telemetry.log_lines import JsonFormatter
from tests.fixtures.pictures import solid
from tests.fixtures.server import serving
from tests.fixtures.threaded_http import answering
from tests.fixtures.waiting import until

KEY = "00000000-0000-4000-8000-000000000001"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def installed() -> bool:
    try:
        return find_spec("azure.monitor.opentelemetry.exporter") is not None
    except ModuleNotFoundError:
        return False


@contextmanager
def ingesting() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A stand-in for the ingestion endpoint: a connection string for it, and what it was sent."""
    items: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            taken = json.loads(body) if self.path.endswith("/track") else []
            items.extend(taken)
            answer = json.dumps({"itemsReceived": len(taken), "itemsAccepted": len(taken), "errors": []}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with answering(Handler) as port:
        yield f"InstrumentationKey={KEY};IngestionEndpoint=http://127.0.0.1:{port}/", items


def traces(items: list[dict[str, Any]], kind: str) -> set[str | None]:
    """The traces that records of this kind belong to."""
    return {item["tags"].get("ai.operation.id") for item in list(items) if item["data"]["baseType"] == kind}


def test_without_its_exporter_one_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "azure.monitor.opentelemetry", None)
    writer = logs.Writer(io.StringIO(), JsonFormatter())
    with caplog.at_level(logging.WARNING):
        setup.install("cpu", OtelSettings(azure_monitor=SecretStr(f"InstrumentationKey={KEY}")), writer)
    writer.close()
    (said,) = (record.getMessage() for record in caplog.records)
    assert "pip install 'roo-vision[azure-monitor]'" in said
    assert KEY not in said


@pytest.mark.skipif(not installed(), reason="needs the extra azure-monitor")
def test_all_three_signals_arrive(repository: Path, tmp_path: Path) -> None:
    quickly = {"OTEL_METRIC_EXPORT_INTERVAL": "200", "OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_BLRP_SCHEDULE_DELAY": "50"}
    quiet = {"APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true", "TMPDIR": str(tmp_path)}
    with ingesting() as (connection, items):
        environment = {"APPLICATIONINSIGHTS_CONNECTION_STRING": connection, **quickly, **quiet}
        with serving(repository, environment) as server, server.client() as client:
            headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
            assert (
                client.post("/v1/models/colour/predict", content=solid((1, 2, 3)), headers=headers).status_code == 200
            )
            until(lambda: {"RequestData", "MetricData", "MessageData"} <= {item["data"]["baseType"] for item in items})
            until(lambda: "roo_requests" in {name(item) for item in items})
            until(lambda: TRACE in traces(items, "MessageData"))
    (request,) = (item for item in items if item["data"]["baseType"] == "RequestData")
    assert request["tags"]["ai.operation.id"] == TRACE
    assert request["tags"]["ai.cloud.role"] == "roo-vision"


@pytest.mark.skipif(not installed(), reason="needs the extra azure-monitor")
def test_a_connection_string_that_is_none_is_told_and_the_pictures_are_answered(repository: Path) -> None:
    wrong = {"APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=SECRET"}
    with serving(repository, wrong) as server, server.client() as client:
        assert client.post("/v1/models/colour/predict", content=solid((1, 2, 3))).status_code == 200
        until(lambda: "traces cannot be exported" in server.log)
        assert "Traceback" not in server.log
        assert "SECRET" not in server.log


def name(item: dict[str, Any]) -> str | None:
    """The metric that an item tells of."""
    metrics = item["data"]["baseData"].get("metrics", [])
    return metrics[0]["name"] if metrics else None
