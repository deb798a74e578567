"""A collector that speaks OTLP over HTTP or gRPC and remembers what it was sent, and one that never answers."""

import gzip
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.fixtures.threaded_http import answering


class Collector:
    """What came in so far. `origins` are the resource attributes of each signal's last request."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.spans: list[Span] = []
        self.metrics: list[dict[str, Metric]] = []
        self.logs: list[LogRecord] = []
        self.origins: dict[str, dict[str, str]] = {}

    def named(self, name: str) -> list[Span]:
        """The spans of that name."""
        return [span for span in self.spans if span.name == name]

    def take(self, path: str, body: bytes) -> None:
        """Remember what an exporter posted."""
        match path:
            case "/v1/traces":
                spans = ExportTraceServiceRequest.FromString(body).resource_spans
                self.origins["traces"] = texts(spans[0].resource.attributes)
                self.spans += [span for one in spans for scope in one.scope_spans for span in scope.spans]
            case "/v1/metrics":
                found = ExportMetricsServiceRequest.FromString(body).resource_metrics
                self.origins["metrics"] = texts(found[0].resource.attributes)
                metrics = [metric for one in found for scope in one.scope_metrics for metric in scope.metrics]
                self.metrics.append({metric.name: metric for metric in metrics})
            case "/v1/logs":
                logs = ExportLogsServiceRequest.FromString(body).resource_logs
                self.origins["logs"] = texts(logs[0].resource.attributes)
                self.logs += [record for one in logs for scope in one.scope_logs for record in scope.log_records]


def texts(attributes: "list[KeyValue]") -> dict[str, str]:
    """Attributes as text, whatever their type."""
    return {item.key: str(getattr(item.value, item.value.WhichOneof("value") or "string_value")) for item in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            collector.take(self.path, body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with answering(Handler) as port:
        collector = Collector(port)
        yield collector


@contextmanager
def collecting_grpc() -> Iterator[Collector]:
    """The same over gRPC, on a free port."""
    paths = {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export": "/v1/traces",
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": "/v1/metrics",
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export": "/v1/logs",
    }

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
            path = paths.get(handler_call_details.method)
            if path is None:
                return None

            def take(body: bytes, context: grpc.ServicerContext) -> bytes:
                collector.take(path, body)
                return b""  # an empty answer of each of the services

            return grpc.unary_unary_rpc_method_handler(take)

    server = grpc.server(ThreadPoolExecutor(max_workers=2), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Handler(),))
    collector = Collector(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    try:
        yield collector
    finally:
        server.stop(0).wait()


@contextmanager
def black_hole() -> Iterator[str]:
    """The URL of something that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
