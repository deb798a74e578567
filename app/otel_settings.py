"""OpenTelemetry's standard variables, as far as the service itself must know them; its SDK reads the others.

Platforms set them (Container Apps' agent, Application Insights' instrumentation of AKS and App Service), not only
people. So none of them stops the start: what cannot work is left out and said in the log, as the specification asks
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/), and the pictures are answered.
"""

import os
from dataclasses import dataclass, field

from pydantic import SecretStr

SIGNALS = ("traces", "metrics", "logs")

_EXPORTERS = {"traces": ("otlp", "none"), "metrics": ("otlp", "prometheus", "none"), "logs": ("otlp", "none")}
_PROTOCOLS = ("http/protobuf", "grpc")
_TEMPORALITIES = ("cumulative", "delta", "lowmemory")


@dataclass(frozen=True, slots=True)
class OtelSettings:
    """What is exported, and where to.

    `otlp` names the signals that go to a collector, `grpc` those of them that go by gRPC, `azure_monitor` is
    Application Insights' connection string; with `disabled` nothing is recorded at all. Every `metric_interval` seconds
    metrics go out, with `delta` only what is new. `warnings` says which variables cannot work, and what is done.
    """

    disabled: bool = False
    otlp: frozenset[str] = field(default_factory=frozenset)
    grpc: frozenset[str] = field(default_factory=frozenset)
    azure_monitor: SecretStr | None = None
    metric_interval: float = 60.0
    delta: bool = False
    warnings: tuple[str, ...] = ()


def load_otel_settings() -> OtelSettings:
    """Read the environment; a variable that cannot work is told of in `warnings`, and is as if it were not set."""
    if _value("OTEL_SDK_DISABLED").lower() == "true":
        return OtelSettings(disabled=True)
    warnings: list[str] = []
    connection = _value("APPLICATIONINSIGHTS_CONNECTION_STRING")
    protocols = {signal: _protocol(signal, warnings) for signal in SIGNALS if _is_wanted(signal, warnings)}
    otlp = frozenset(signal for signal, protocol in protocols.items() if _has_endpoint(signal, protocol, warnings))
    return OtelSettings(
        otlp=otlp,
        grpc=frozenset(signal for signal in otlp if protocols[signal] == "grpc"),
        azure_monitor=SecretStr(connection) if connection else None,
        metric_interval=_milliseconds("OTEL_METRIC_EXPORT_INTERVAL", 60_000, warnings) / 1000,
        delta=_temporality(warnings) != "cumulative",
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _is_wanted(signal: str, warnings: list[str]) -> bool:
    """A signal goes to a collector where its exporter is named, or, where none is, a collector."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    named = [name.strip() for name in _value(variable).lower().split(",") if name.strip()]
    if unknown := [name for name in named if name not in _EXPORTERS[signal]]:
        known = " or ".join(_EXPORTERS[signal])
        warnings.append(f"{variable} names {unknown[0][:80]!r}, which is left out: there is {known}.")
    return "otlp" in named or (not named and bool(_value(_endpoint(signal))))


def _protocol(signal: str, warnings: list[str]) -> str:
    own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL"
    variable = own if _value(own) else "OTEL_EXPORTER_OTLP_PROTOCOL"
    return _choice(variable, _PROTOCOLS, warnings)


def _temporality(warnings: list[str]) -> str:
    return _choice("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", _TEMPORALITIES, warnings)


def _endpoint(signal: str) -> str:
    """The variable that says where a signal goes."""
    own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
    return own if _value(own) else "OTEL_EXPORTER_OTLP_ENDPOINT"


def _has_endpoint(signal: str, protocol: str, warnings: list[str]) -> bool:
    """Whether what is named can be sent to; gRPC takes a host and a port without a scheme too."""
    variable = _endpoint(signal)
    url = _value(variable)
    if not url or protocol == "grpc" or url.startswith(("http://", "https://")):
        return True
    warnings.append(f"{variable} is no URL such as http://collector:4318 (is {url[:80]!r}): {signal} are not exported.")
    return False


def _choice(variable: str, known: tuple[str, ...], warnings: list[str]) -> str:
    """One of `known`; the first of them where the variable is not set, or says something else."""
    value = _value(variable).lower()
    if value and value not in known:
        warnings.append(f"{variable} is {value[:80]!r}, not {' or '.join(known)}: {known[0]} is used.")
    return value if value in known else known[0]


def _milliseconds(variable: str, default: float, warnings: list[str]) -> float:
    text = _value(variable)
    try:
        value = float(text or default)
    except ValueError:
        value = 0.0
    if 0 < value < float("inf"):
        return value
    warnings.append(f"{variable} is {text[:80]!r}, not a number of milliseconds above 0: {default:g} is used.")
    return default


def _value(variable: str) -> str:
    return os.environ.get(variable, "").strip()
