"""One picture's way can be followed, through a real OTLP endpoint, from its sender to its result."""

import asyncio
from pathlib import Path

import httpx
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.devbus import Broker, Limits
from tests.fixtures.pictures import solid
from tests.fixtures.queue import picture, put
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import until, until_async
from tests.telemetry.collector import Collector, collecting

TRACE, SENDER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SENDER}-01"
STAGES = {"admission", "queue", "prepare", "compute", "finish"}


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


def test_a_request_continues_its_callers_trace(repository: Path) -> None:
    with collecting() as collector, serving(repository, exporting(collector)) as server:
        assert predict(server, traceparent=TRACEPARENT).status_code == 200
        until(lambda: len(traced(collector)) >= len(STAGES) + 2)
        spans = traced(collector)
        assert {span.name for span in spans} == STAGES | {"POST /v1/models/{name}/predict", "batch colour"}
        assert all(reaches_sender(span, spans) for span in spans)
        (batch,), (compute,) = collector.named("batch colour"), collector.named("compute")
        assert compute.links[0].span_id == batch.span_id
        until(lambda: TRACE in server.log)  # its line carries the trace as well


async def test_a_message_is_one_connected_trace_from_its_sender_to_its_result(repository: Path) -> None:
    async with Broker(["jobs,lock=60", "results"], limits=Limits(max_message_size=8 << 20)) as bus:
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
                await put(bus, [picture((1, 2, 3), "one", application_properties={"Diagnostic-Id": TRACEPARENT})])
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


def test_a_collector_that_cannot_be_reached_costs_no_request_and_no_time_at_the_end(repository: Path) -> None:
    unreachable = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_MAX_QUEUE_SIZE": "16"}
    with serving(repository, {**unreachable, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8"}) as server:
        assert {predict(server).status_code for _ in range(20)} == {200}
        server.terminate()
        assert server.wait() == 0
