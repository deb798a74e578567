"""One picture's way can be followed, through a real OTLP endpoint, from its sender to its result."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.devbus.broker import Broker
from app.devbus.limits import BrokerLimits
from tests.fixtures.bright_squares import add_bright_model
from tests.fixtures.models import add_slow_colour_model
from tests.fixtures.pictures import solid
from tests.fixtures.queue import picture, put
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import until, until_async
from tests.telemetry.collector import Collector, collecting, texts

TRACE, SENDER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SENDER}-01"
STAGES = {"admission", "queue", "decode", "prepare", "compute", "finish"}


def exporting(collector: Collector) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}


def traced(collector: Collector) -> list[Span]:
    return [span for span in collector.spans if span.trace_id.hex() == TRACE]


def reaches_sender(span: Span, spans: list[Span]) -> bool:
    by_id = {other.span_id: other for other in spans}
    while span.parent_span_id in by_id:
        span = by_id[span.parent_span_id]
    return span.parent_span_id.hex() == SENDER


def predict(server: Server, **headers: str) -> httpx.Response:
    with server.client() as client:
        return client.post("/v1/models/colour/predict", content=solid((9, 9, 9)), headers=headers)


def ask_default(server: Server) -> httpx.Response:
    with server.client() as client:
        return client.post("/v1/predict", content=solid((9, 9, 9)))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose only model takes a while, so that pictures come together meanwhile."""
    root = tmp_path_factory.mktemp("slow")
    add_slow_colour_model(root)
    return root


def test_a_request_continues_its_callers_trace(repository: Path) -> None:
    with collecting() as collector, serving(repository, exporting(collector)) as server:
        assert predict(server, traceparent=TRACEPARENT).status_code == 200
        until(lambda: len(traced(collector)) >= len(STAGES) + 2)
        spans = traced(collector)
        assert {span.name for span in spans} == STAGES | {"POST /v1/models/{name}/predict", "batch colour"}
        assert all(reaches_sender(span, spans) for span in spans)
        (batch,), (compute,) = collector.named("batch colour"), collector.named("compute")
        assert compute.links[0].span_id == batch.span_id
        assert batch.links[0].trace_id.hex() == TRACE
        said = texts(batch.attributes)
        assert (said["roo.model"], said["roo.batch.size"], said["roo.batch.bucket"]) == ("colour", "1", "1")
        for span in spans:
            assert (texts(span.attributes)["roo.model"], texts(span.attributes)["roo.version"]) == ("colour", "2")
        (request,) = collector.named("POST /v1/models/{name}/predict")
        said = texts(request.attributes)
        assert (request.kind, said["url.path"]) == (Span.SPAN_KIND_SERVER, "/v1/models/colour/predict")
        assert (said["http.response.status_code"], said["http.request.method"]) == ("200", "POST")
        until(lambda: TRACE in server.log)  # its line carries the trace as well


def test_a_picture_in_tiles_is_one_trace(tmp_path: Path) -> None:
    add_bright_model(tmp_path)
    with collecting() as collector, serving(tmp_path, exporting(collector)) as server:
        with server.client() as client:
            content, headers = solid((9, 9, 9), (600, 400)), {"traceparent": TRACEPARENT}
            answer = client.post("/v1/predict", content=content, params={"tiles": "256"}, headers=headers)
        assert answer.json()["tiles"] == 6
        until(lambda: len(traced(collector)) >= 4)
    spans = traced(collector)
    assert {span.name for span in spans} == {"POST /v1/predict", "cut", "crops bright", "join"}
    assert all(reaches_sender(span, spans) for span in spans)
    (asked,) = collector.named("crops bright")
    assert texts(asked.attributes)["roo.crops"] == "7"


def test_pictures_of_one_batch_are_linked_to_it_and_it_to_them(slow: Path) -> None:
    with collecting() as collector, serving(slow, exporting(collector), lanes=1) as server:
        with ThreadPoolExecutor(8) as senders:
            answers = [senders.submit(ask_default, server) for _ in range(8)]
            assert {answer.result().status_code for answer in answers} == {200}
        until(lambda: len([span for span in collector.spans if span.name.startswith("POST")]) == 8)
        batches = {span.span_id: span for span in collector.spans if span.name.startswith("batch ")}
        computed = collector.named("compute")
    assert any(len(batch.links) > 1 for batch in batches.values())
    assert all(texts(batch.attributes)["roo.batch.size"] == str(len(batch.links)) for batch in batches.values())
    for span in computed:
        (link,) = span.links
        assert span.trace_id in {member.trace_id for member in batches[link.span_id].links}


def test_probes_make_no_spans(repository: Path) -> None:
    with collecting() as collector, serving(repository, exporting(collector)) as server:
        with server.client() as client:
            assert client.get("/livez").status_code == client.get("/metrics").status_code == 200
        predict(server)
        until(lambda: any(span.name.startswith("POST") for span in collector.spans))
        assert not [span for span in collector.spans if "livez" in span.name or "metrics" in span.name]


def test_a_failure_of_ours_is_marked_and_a_callers_is_not(repository: Path) -> None:
    with collecting() as collector, serving(repository, exporting(collector)) as server:
        with server.client() as client:
            assert client.post("/v1/models/none/predict", headers={"traceparent": TRACEPARENT}).status_code == 404
        until(lambda: traced(collector))
    (span,) = traced(collector)
    assert span.status.code == span.status.STATUS_CODE_UNSET
    assert texts(span.attributes)["http.response.status_code"] == "404"


@pytest.mark.parametrize("named", ["traceparent", "Diagnostic-Id"])
async def test_a_message_is_one_connected_trace_from_its_sender_to_its_result(repository: Path, named: str) -> None:
    async with Broker(["jobs,lock=60", "results"], limits=BrokerLimits(max_message_size=8 << 20)) as bus:
        settings = {
            "queue": "jobs",
            "results_queue": "results",
            "default_model": "colour",
            "servicebus_connection_string": bus.connection_string,
        }
        with collecting() as collector:
            working = serving(repository, exporting(collector), **settings)
            await asyncio.to_thread(working.__enter__)  # the broker must answer meanwhile
            try:
                await put(bus, [picture((1, 2, 3), "one", application_properties={named: TRACEPARENT})])
                await until_async(lambda: any(span.name == "process jobs" for span in traced(collector)))
            finally:
                working.__exit__(None, None, None)
        (result,) = bus.queue("results").peek()
    spans = traced(collector)
    assert {span.name for span in spans} == STAGES | {"batch colour", "process jobs", "send results", "complete jobs"}
    assert all(reaches_sender(span, spans) for span in spans)
    (process,), (sent,) = collector.named("process jobs"), collector.named("send results")
    assert process.links[0].span_id.hex() == SENDER
    properties = result.message.application_map
    assert properties["traceparent"] == f"00-{TRACE}-{sent.span_id.hex()}-01"


async def test_without_exporters_a_result_carries_the_senders_context_all_the_same(repository: Path) -> None:
    async with Broker(["jobs,lock=60", "results"], limits=BrokerLimits(max_message_size=8 << 20)) as bus:
        queue = {"queue": "jobs", "results_queue": "results", "servicebus_connection_string": bus.connection_string}
        with serving(repository, default_model="colour", **queue):
            sound = {"traceparent": TRACEPARENT, "tracestate": "vendor=1"}
            odd = {"traceparent": "x" * 100, "tracestate": "\x00"}
            await put(bus, [picture((1, 2, 3), "sound", application_properties=sound)])
            await put(bus, [picture((1, 2, 3), "odd", application_properties=odd)])
            await until_async(lambda: bus.queue("results").depths.total == 2)
        entries = [entry.message.application_map for entry in bus.queue("results").peek()]
    carried = [{name: value for name, value in entry.items() if name in sound} for entry in entries]
    assert sorted(carried, key=len) == [{}, sound]
