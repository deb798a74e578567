"""Metrics and logs over OTLP, what they say of their origin, and collectors that are not there."""

from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

from tests.fixtures.pictures import solid
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import until
from tests.telemetry.collector import Collector, black_hole, collecting, collecting_grpc, texts

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
QUICKLY = {"OTEL_METRIC_EXPORT_INTERVAL": "100", "OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_BLRP_SCHEDULE_DELAY": "50"}


def predict(server: Server, content: bytes = solid((9, 9, 9)), **headers: str) -> httpx.Response:
    with server.client() as client:
        return client.post("/v1/models/colour/predict", content=content, headers=headers)


def total(metric: Metric, **labels: str) -> float:
    """What the points with those labels say together."""
    points = [*metric.sum.data_points, *metric.gauge.data_points]
    numbers = [point.as_double for point in points if labels.items() <= texts(point.attributes).items()]
    histograms = metric.histogram.data_points
    counts = [point.count for point in histograms if labels.items() <= texts(point.attributes).items()]
    return sum(numbers) + sum(counts)


def exported(collector: Collector, name: str, **labels: str) -> list[float]:
    """What each export so far told of an instrument."""
    return [total(metrics[name], **labels) for metrics in list(collector.metrics) if name in metrics]


def test_the_metrics_of_prometheus_go_out_over_otlp_with_names_units_and_traces(repository: Path) -> None:
    with (
        collecting() as collector,
        serving(repository, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **QUICKLY}) as server,
    ):
        for _ in range(3):
            predict(server, traceparent=TRACEPARENT)
        until(lambda: 3.0 in exported(collector, "roo_requests", outcome="ok", model="colour", source="http"))
        until(lambda: len(exported(collector, "roo_requests")) >= 3)
        latest = collector.metrics[-1]
        assert total(latest["roo_requests"]) == 3  # still: what is told is the sum since the start
        duration = latest["http.server.request.duration"]
        assert duration.unit == "s"
        labels = {"http.request.method": "POST", "http.response.status_code": "200"}
        assert total(duration, **labels, **{"http.route": "/v1/models/{name}/predict"}) == 3
        (point,) = (point for point in latest["roo_request"].histogram.data_points)
        assert sum(point.bucket_counts) == point.count == 3
        assert TRACE in {exemplar.trace_id.hex() for exemplar in point.exemplars}
        assert not point.HasField("min")
        assert total(latest["process.memory.usage"]) > 2**20
        assert total(latest["roo_ready"]) == 1


def test_with_delta_each_export_tells_only_what_is_new(repository: Path) -> None:
    wanted = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta", **QUICKLY}
    with (
        collecting() as collector,
        serving(repository, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **wanted}) as server,
    ):
        predict(server)
        until(lambda: sum(exported(collector, "roo_requests")) == 1)
        predict(server)
        predict(server)
        until(lambda: sum(exported(collector, "roo_requests")) == 3)
        until(lambda: exported(collector, "roo_requests")[-1] == 0)
        assert sum(exported(collector, "http.server.request.duration", **{"http.request.method": "POST"})) == 3
        metric = collector.metrics[-1]["roo_requests"].sum
        assert metric.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA


def test_every_signal_says_where_it_comes_from(repository: Path) -> None:
    attributes = {"OTEL_SERVICE_NAME": "shelves", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"}
    with (
        collecting() as collector,
        serving(repository, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **attributes, **QUICKLY}) as server,
    ):
        predict(server)
        until(lambda: collector.origins.keys() == {"traces", "metrics", "logs"})
    for origin in collector.origins.values():
        assert origin["service.name"] == "shelves"
        assert origin["deployment.environment.name"] == "test"
        assert origin["service.version"]
        assert origin["service.instance.id"]
        assert origin["roo.device"] == "cpu"


def test_the_last_log_line_of_a_service_goes_out_too(repository: Path) -> None:
    with (
        collecting() as collector,
        serving(repository, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}) as server,
    ):
        server.terminate()
        assert server.wait() == 0
        assert collector.logs[-1].body.string_value == "stopped"


def test_log_lines_go_out_with_their_trace_and_request(repository: Path) -> None:
    with (
        collecting() as collector,
        serving(repository, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **QUICKLY}) as server,
    ):
        predict(server, **{"traceparent": TRACEPARENT, "x-request-id": "scan-7"})
        until(lambda: any(record.trace_id.hex() == TRACE for record in collector.logs))
        (record,) = (record for record in collector.logs if record.trace_id.hex() == TRACE)
    said = texts(record.attributes)
    assert record.body.string_value == "POST /v1/models/colour/predict 200"
    assert record.severity_text == "INFO"
    assert (said["roo.request_id"], said["status"]) == ("scan-7", "200")


def test_sampling_is_as_the_standard_variable_says(repository: Path) -> None:
    never = {"OTEL_TRACES_SAMPLER": "parentbased_always_off", **QUICKLY}
    with (
        collecting() as collector,
        serving(repository, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **never}) as server,
    ):
        for _ in range(5):
            predict(server)
        predict(server, traceparent=TRACEPARENT)
        until(lambda: any(span.name.startswith("POST") for span in collector.spans))
        assert {span.trace_id.hex() for span in collector.spans} == {TRACE}


def test_nothing_is_recorded_where_the_sdk_is_disabled(repository: Path) -> None:
    with (
        collecting() as collector,
        serving(repository, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SDK_DISABLED": "true"}) as server,
    ):
        assert predict(server).status_code == 200
        text = httpx.get(f"{server.url}/metrics").text
        assert "roo_ready 1.0" in text
        assert "roo_requests_total" not in text
        server.terminate()
        assert server.wait() == 0
        assert not collector.origins


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("kind", ["refuses", "never answers"])
def test_a_dead_collector_costs_no_request_no_memory_and_no_time_at_the_end(
    repository: Path, kind: str, protocol: str
) -> None:
    # An export would wait for an hour: that the service ends at all shows that it does not wait for its exporters.
    patient = {"OTEL_EXPORTER_OTLP_TIMEOUT": "3600", "OTEL_BSP_EXPORT_TIMEOUT": "3600000"}
    small = {
        f"OTEL_{queue}_MAX_{size}": "8" for queue in ("BSP", "BLRP") for size in ("QUEUE_SIZE", "EXPORT_BATCH_SIZE")
    }
    with black_hole() as silent:
        dead = {"OTEL_EXPORTER_OTLP_ENDPOINT": silent if kind == "never answers" else "http://127.0.0.1:9"}
        dead["OTEL_EXPORTER_OTLP_PROTOCOL"] = protocol
        with serving(repository, {**dead, **QUICKLY, **patient, **small}) as server:
            assert {predict(server).status_code for _ in range(30)} == {200}
            until(lambda: "Queue full, dropping" in server.log)  # 30 requests make 200 spans
            assert predict(server).status_code == 200
            server.terminate()
            assert server.wait() == 0


def test_all_three_signals_go_out_over_grpc_where_a_platform_says_so(repository: Path) -> None:
    with collecting_grpc() as collector:
        # As Container Apps' agent injects them, the slash at the end included.
        injected = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.url}/", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
        with serving(repository, {**injected, **QUICKLY}) as server:
            assert predict(server, traceparent=TRACEPARENT).status_code == 200
            until(lambda: any(span.name.startswith("POST") for span in collector.spans))
            until(lambda: 1.0 in exported(collector, "roo_requests", outcome="ok", model="colour", source="http"))
            until(lambda: collector.logs)
            server.terminate()
            assert server.wait() == 0


def test_a_signal_may_go_another_way_than_the_others(repository: Path) -> None:
    with collecting() as by_http, collecting_grpc() as by_grpc:
        wanted = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": by_http.url,
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": by_grpc.url,
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
        }
        with serving(repository, {**wanted, **QUICKLY}) as server:
            predict(server)
            until(lambda: by_grpc.spans and by_http.metrics and by_http.logs)
    assert not by_http.spans
    assert not by_grpc.metrics


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "is no URL such as http://collector:4318"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'http/json', not http/protobuf or grpc: http/protobuf is used",
        ),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER names 'zipkin', which is left out"),
        ({"OTEL_METRIC_EXPORT_INTERVAL": "soon"}, "'soon', not a number of milliseconds above 0: 60000 is used"),
        (
            {
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd",
            },
            "cannot be exported",
        ),
    ],
)
def test_a_variable_that_cannot_work_is_told_and_the_pictures_are_answered(
    repository: Path, variables: dict[str, str], words: str
) -> None:
    with serving(repository, variables) as server:
        assert predict(server).status_code == 200
        until(lambda: words in server.log)
        assert "Traceback" not in server.log
