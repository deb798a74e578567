"""Install the OpenTelemetry SDK; the only module that imports it."""

import logging

from opentelemetry import metrics as otel
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from prometheus_client import REGISTRY, generate_latest

import app


def install() -> MeterProvider:
    """Make the instruments of `app.telemetry.metrics` readable at `/metrics`; returns what must be shut down at the
    end.
    """
    resource = Resource.create({SERVICE_NAME: "roo-vision", SERVICE_VERSION: app.__version__})
    provider = MeterProvider(metric_readers=[PrometheusMetricReader(scope_info_enabled=False)], resource=resource)
    otel.set_meter_provider(provider)
    return provider


def prometheus_text() -> bytes:
    """All metrics in Prometheus text exposition format 0.0.4."""
    return generate_latest(REGISTRY)


def configure_logging(level: str) -> None:
    """Log readable lines to standard error."""
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    # uvicorn's own start and stop lines say nothing that the service does not say better.
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.getLogger().level))
    # The Azure SDK tells every state of every link and every request at info.
    logging.getLogger("azure").setLevel(max(logging.WARNING, logging.getLogger().level))
