"""OpenTelemetry's standard variables, as far as the service itself must know them; its SDK reads the others.

They are checked where the SDK would fall silent, or fill the log from a thread of its own, over a value that cannot
work.
"""

import os
from dataclasses import dataclass, field

from pydantic import SecretStr

from app.errors import StartupError

SIGNALS = ("traces", "metrics", "logs")

_EXPORTERS = {"traces": ("otlp", "none"), "metrics": ("otlp", "prometheus", "none"), "logs": ("otlp", "none")}
_PROTOCOL = "http/protobuf"
_TEMPORALITIES = ("cumulative", "delta", "lowmemory")


@dataclass(frozen=True, slots=True)
class OtelSettings:
    """What is exported, and where to.

    `otlp` names the signals that go to a collector, `azure_monitor` is Application Insights' connection string; with
    `disabled` nothing is recorded at all. Every `metric_interval` seconds metrics go out, with `delta` only what is
    new.
    """

    disabled: bool = False
    otlp: frozenset[str] = field(default_factory=frozenset)
    azure_monitor: SecretStr | None = None
    metric_interval: float = 60.0
    delta: bool = False


def load_otel_settings() -> OtelSettings:
    """Read the environment; raises `StartupError` naming the variable that is wrong and what it must be."""
    if _value("OTEL_SDK_DISABLED").lower() == "true":
        return OtelSettings(disabled=True)
    connection = _value("APPLICATIONINSIGHTS_CONNECTION_STRING")
    return OtelSettings(
        otlp=frozenset(signal for signal in SIGNALS if _goes_out(signal)),
        azure_monitor=SecretStr(connection) if connection else None,
        metric_interval=_milliseconds("OTEL_METRIC_EXPORT_INTERVAL", 60_000) / 1000,
        delta=_choice("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", _TEMPORALITIES, "cumulative")
        != "cumulative",
    )


def _goes_out(signal: str) -> bool:
    """A signal goes to a collector where one is named, or where its exporter is."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    exporter = _choice(variable, _EXPORTERS[signal], "")
    place, own_place = "OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
    named = own_place if _value(own_place) else place
    if exporter not in ("", "otlp") or not (exporter or _value(named)):
        return False
    _check_endpoint(named)
    for protocol in ("OTEL_EXPORTER_OTLP_PROTOCOL", f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL"):
        _choice(protocol, (_PROTOCOL,), _PROTOCOL)
    return True


def _check_endpoint(variable: str) -> None:
    url = _value(variable)
    if url and not url.startswith(("http://", "https://")):
        raise StartupError(f"{variable} must be a URL such as http://collector:4318 (is {url[:80]!r}).")


def _choice(variable: str, known: tuple[str, ...], default: str) -> str:
    value = _value(variable).lower()
    if value and value not in known:
        raise StartupError(f"{variable} must be {' or '.join(known)} (is {value[:80]!r}). See docs/telemetry.md.")
    return value or default


def _milliseconds(variable: str, default: float) -> float:
    text = _value(variable)
    try:
        value = float(text or default)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise StartupError(f"{variable} must be a number of milliseconds above 0 (is {text[:80]!r}).")
    return value


def _value(variable: str) -> str:
    return os.environ.get(variable, "").strip()
