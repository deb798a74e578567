"""Install the OpenTelemetry SDK; the only module that imports it.

Metrics are always readable at `/metrics`. What else leaves the process, and where to, the standard `OTEL_*` variables
say, most of which the SDK reads by itself. Exporters work in threads of their own with bounded queues: a collector
that cannot be reached costs neither requests nor memory, only what it would have been sent.
"""

import logging
import socket
import threading
from collections.abc import Callable

from opentelemetry import metrics as otel_metrics
from opentelemetry import trace as otel_trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from prometheus_client import REGISTRY, generate_latest

import app
from app.telemetry import tracing
from app.telemetry.logs import Sink, Writer

CLOSE_SECONDS = 2.0
"""Time that what was recorded last has to reach its collector when the service ends."""

_SEVERITIES = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}


class Telemetry:
    """What was installed, to be shut down at the end."""

    def __init__(self) -> None:
        self._shutdowns: list[Callable[[], object]] = []

    def add(self, shutdown: Callable[[], object]) -> None:
        """Something to be flushed and ended."""
        self._shutdowns.append(shutdown)

    def shutdown(self) -> None:
        """Send what is left, for `CLOSE_SECONDS` in all: a collector that does not answer must not hold the end up."""
        threads = [threading.Thread(target=shutdown, daemon=True) for shutdown in self._shutdowns]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(CLOSE_SECONDS / len(threads))


def install(device: str, exported: frozenset[str], writer: Writer | None = None) -> Telemetry:
    """Make the instruments of `app.telemetry.metrics` readable at `/metrics`, and export over OTLP (http/protobuf)
    what `exported` names: `traces`, `metrics`, and `logs`, which come from `writer`.
    """
    telemetry, resource = Telemetry(), _resource(device)
    readers: list[MetricReader] = [PrometheusMetricReader(scope_info_enabled=False)]
    if "metrics" in exported:
        readers.append(_otlp_reader())
    meters = MeterProvider(metric_readers=readers, resource=resource, shutdown_on_exit=False)
    otel_metrics.set_meter_provider(meters)
    telemetry.add(meters.shutdown)
    if "traces" in exported:
        telemetry.add(_export_traces(resource))
    if "logs" in exported and writer is not None:
        telemetry.add(_export_logs(resource, writer))
    return telemetry


def prometheus_text() -> bytes:
    """All metrics in Prometheus text exposition format 0.0.4."""
    return generate_latest(REGISTRY)


def _resource(device: str) -> Resource:
    """What all signals say of their origin; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win."""
    ours = {
        SERVICE_NAME: "roo-vision",
        SERVICE_VERSION: app.__version__,
        "service.instance.id": socket.gethostname(),
        "roo.device": device,
    }
    return Resource.create(ours).merge(OTELResourceDetector().detect())


def _otlp_reader() -> MetricReader:
    # Imported where they are used: they take a fifth of a second, and most who start the service export nothing.
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    return PeriodicExportingMetricReader(OTLPMetricExporter())


def _export_traces(resource: Resource) -> Callable[[], object]:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    otel_trace.set_tracer_provider(provider)
    tracing.enable()
    return provider.shutdown


def _export_logs(resource: Resource, writer: Writer) -> Callable[[], object]:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    writer.sinks.append(_sink(provider.get_logger("roo_vision").emit))
    return provider.shutdown


def _sink(emit: Callable[[LogRecord], None]) -> Sink:
    def sink(record: logging.LogRecord) -> None:
        if record.name.startswith("opentelemetry"):
            return  # what the exporter complains of, it would be given to export
        emit(_to_otel(record))

    return sink


def _to_otel(record: logging.LogRecord) -> LogRecord:
    attributes = {"logger": record.name, **getattr(record, "fields", {})}
    if request_id := getattr(record, "request_id", ""):
        attributes["roo.request_id"] = request_id
    ids: tuple[str, str] | None = getattr(record, "trace", None)
    span = ids and SpanContext(int(ids[0], 16), int(ids[1], 16), is_remote=False, trace_flags=TraceFlags(1))
    return LogRecord(
        timestamp=int(record.created * 1e9),
        context=set_span_in_context(NonRecordingSpan(span)) if span else None,
        severity_text=record.levelname,
        severity_number=_SEVERITIES.get(record.levelno, SeverityNumber.UNSPECIFIED),
        body=record.message,
        attributes=attributes,
    )
