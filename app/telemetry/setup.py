"""Put telemetry together: `/metrics`, and whatever exporters OpenTelemetry's standard variables ask for.

Exporters work in threads of their own with bounded queues: a collector that cannot be reached costs neither requests
nor memory, only what it would have been sent. The SDK is imported where it is used: it takes a fifth of a second, and
most who start the service export nothing.
"""

import functools
import importlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opentelemetry import trace as otel_trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context
from pydantic import SecretStr

import app
from app.otel_settings import OtelSettings
from app.telemetry import instruments, metrics, tracing
from app.telemetry.logs import Sink, Writer
from app.telemetry.prometheus import Exposition

if TYPE_CHECKING:
    from opentelemetry.sdk._logs.export import LogRecordExporter
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace.export import SpanExporter

log = logging.getLogger(__name__)

CLOSE_SECONDS = 1.0
"""Time that what was recorded last has to reach its collector when the service ends."""

_OTLP_EXPORTERS = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
    "logs": ("_log_exporter", "OTLPLogExporter"),
}
"""The module and class of each signal, the same in the packages for HTTP and for gRPC."""

_SEVERITIES = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}


class Telemetry:
    """What was installed: to be read at `/metrics`, and shut down at the end."""

    def __init__(self, resource: Resource, writer: Writer) -> None:
        self._resource = resource
        self._writer = writer
        self._shutdowns: list[Callable[[], object]] = []
        origin = {name: str(value) for name, value in resource.attributes.items()}
        self._exposition = Exposition(metrics.DECLARED.values(), origin)

    def metrics_text(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the format that an `Accept` header asks for, and its media type."""
        return self._exposition.text(accept)

    def export_traces(self, exporters: "list[SpanExporter]") -> None:
        """Sample spans as `OTEL_TRACES_SAMPLER` says, and hand them to exporters."""
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        for exporter in exporters:
            provider.add_span_processor(BatchSpanProcessor(exporter))
        otel_trace.set_tracer_provider(provider)
        tracing.enable()
        self._shutdowns.append(provider.shutdown)

    def export_metrics(self, exporter: "MetricExporter", interval: float, *, delta: bool) -> None:
        """Hand all metrics to an exporter every `interval` seconds."""
        from app.telemetry.metric_export import MetricExport

        export = MetricExport(metrics.DECLARED.values(), exporter, self._resource, interval, delta=delta)
        self._shutdowns.append(export.shutdown)

    def export_logs(self, exporters: "list[LogRecordExporter]") -> None:
        """Hand to exporters whatever is logged."""
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

        provider = LoggerProvider(resource=self._resource, shutdown_on_exit=False)
        for exporter in exporters:
            provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
        self._writer.sinks.append(_sink(provider.get_logger("roo_vision").emit))
        self._shutdowns.append(provider.shutdown)

    def shutdown(self) -> None:
        """Send what is left, for `CLOSE_SECONDS` in all: a collector that does not answer must not hold the end up."""
        if self._writer.sinks:
            self._writer.flush()  # the last lines are still on their way to the exporters
        threads = [threading.Thread(target=shutdown, daemon=True) for shutdown in self._shutdowns]
        for thread in threads:
            thread.start()
        until = time.monotonic() + CLOSE_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))


def install(device: str, otel: OtelSettings, writer: Writer) -> Telemetry:
    """Make the instruments of `app.telemetry.metrics` readable, and export what `otel` names; logs come from `writer`.

    An exporter that is not installed, or does not understand a variable of its own, is left out; the log says which.
    """
    telemetry = Telemetry(_resource(device), writer)
    if otel.disabled:
        instruments.stop_recording()
        return telemetry
    for warning in otel.warnings:
        log.warning("%s See docs/telemetry.md.", warning)
    _export(telemetry, otel)
    return telemetry


def _resource(device: str) -> Resource:
    """What all signals say of their origin; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win."""
    ours = {
        SERVICE_NAME: "roo-vision",
        SERVICE_VERSION: app.__version__,
        "service.instance.id": socket.gethostname(),
        "roo.device": device,
    }
    return Resource.create(ours).merge(OTELResourceDetector().detect())


def _export(telemetry: Telemetry, otel: OtelSettings) -> None:
    to_collector = {signal: _made(signal, _otlp(signal, signal in otel.grpc)) for signal in otel.otlp}
    to_azure = _azure_exporters(otel.azure_monitor)
    for exporter, delta in ((to_collector.get("metrics"), otel.delta), (to_azure.get("metrics"), True)):
        if exporter is not None:  # Azure's adds up what it is told, so it is told what is new
            telemetry.export_metrics(exporter, otel.metric_interval, delta=delta)
    both = (to_collector, to_azure)
    if spans := [made["traces"] for made in both if made.get("traces")]:
        telemetry.export_traces(spans)
    if logs := [made["logs"] for made in both if made.get("logs")]:
        telemetry.export_logs(logs)


def _otlp(signal: str, grpc: bool) -> Callable[[], Any]:
    """What makes the exporter of a signal; imported only when it is called."""
    module, name = _OTLP_EXPORTERS[signal]
    package = f"opentelemetry.exporter.otlp.proto.{'grpc' if grpc else 'http'}"
    return lambda: getattr(importlib.import_module(f"{package}.{module}"), name)()


def _azure_exporters(connection: SecretStr | None) -> dict[str, Any]:
    """Application Insights' exporter of each signal; none where there is no connection string, or it cannot be used."""
    if connection is None:
        return {}
    try:
        from azure.monitor.opentelemetry import exporter as azure
    except ImportError:
        log.warning(
            "APPLICATIONINSIGHTS_CONNECTION_STRING is set, but its exporter is not installed: nothing is sent there. "
            "pip install 'roo-vision[azure-monitor]', or send by a collector. See docs/telemetry.md."
        )
        return {}
    # What cannot be sent is dropped: a hardened container has no disk to keep it on.
    options = {"connection_string": connection.get_secret_value(), "disable_offline_storage": True}
    kinds = {"traces": "Trace", "metrics": "Metric", "logs": "Log"}
    return {
        signal: _made(signal, functools.partial(getattr(azure, f"AzureMonitor{kind}Exporter"), **options))
        for signal, kind in kinds.items()
    }


def _made(signal: str, make: Callable[[], Any]) -> Any:
    """What `make` makes; None where it refuses one of its own variables."""
    try:
        return make()
    except Exception as error:
        log.warning("The %s cannot be exported: %s. See docs/telemetry.md.", signal, error)
        return None


def _sink(emit: Callable[[LogRecord], None]) -> Sink:
    def sink(record: logging.LogRecord) -> None:
        if not record.name.startswith(("opentelemetry", "azure.monitor")):
            emit(_to_otel(record))  # what an exporter complains of, it would be given to export

    return sink


def _to_otel(record: logging.LogRecord) -> LogRecord:
    attributes = {"logger": record.name, **getattr(record, "fields", {})}
    if request_id := getattr(record, "request_id", ""):
        attributes["roo.request_id"] = request_id
    if record.exc_info and record.exc_info[0] is not None:
        attributes["exception.type"] = record.exc_info[0].__name__
        attributes["exception.stacktrace"] = record.exc_text or ""
    trace: SpanContext | None = getattr(record, "trace", None)
    return LogRecord(
        timestamp=int(record.created * 1e9),
        context=set_span_in_context(NonRecordingSpan(trace)) if trace else None,
        severity_text=record.levelname,
        severity_number=_SEVERITIES.get(record.levelno, SeverityNumber.UNSPECIFIED),
        body=record.message,
        attributes=attributes,
    )
