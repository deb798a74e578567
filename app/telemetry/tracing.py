"""Spans: where one picture's time went, from the sender's context to the result.

The OpenTelemetry API alone is used here. Until `enable` was called every function returns at once, so that nothing is
spent where nothing is exported. The core's stages become spans afterwards, on the event loop, from the moments that
the lanes note anyway: lanes do no tracing.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode

_TRACEPARENT, _TRACESTATE, _DIAGNOSTIC_ID = "traceparent", "tracestate", "Diagnostic-Id"
_SERVER_ERROR = 500

_tracer = trace.get_tracer("roo_vision")
_enabled = False


@dataclass(slots=True, eq=False)
class BatchTrace:
    """One computation and the traces of the pictures in it. Moments are `time.monotonic`'s, in seconds."""

    model: str
    size: int
    started_at: float
    seconds: float
    members: tuple[SpanContext, ...]
    span: SpanContext | None = None
    """The batch's own span, made by the first member that is answered."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a picture's way; moments are `time.monotonic`'s, in seconds."""

    name: str
    started_at: float
    seconds: float


def enable() -> None:
    """Make spans from now on; called once a provider is installed that samples and exports them."""
    global _enabled
    _enabled = True


def enabled() -> bool:
    """Whether spans are made at all."""
    return _enabled


def ids() -> tuple[str, str] | None:
    """The current span's trace and span id in hexadecimal, or None outside any trace."""
    if not _enabled:
        return None
    current = trace.get_current_span().get_span_context()
    return (f"{current.trace_id:032x}", f"{current.span_id:016x}") if current.is_valid else None


def sampled_context() -> SpanContext | None:
    """The current span's identity where it is recorded, for what is computed on its behalf elsewhere."""
    if not _enabled:
        return None
    span = trace.get_current_span()
    return span.get_span_context() if span.is_recording() else None


@contextmanager
def server(method: str, headers: Iterable[tuple[bytes, bytes]]) -> Iterator[Span]:
    """The span of one HTTP request, current inside the block, whose parent the `traceparent` header names."""
    if not _enabled:
        yield trace.INVALID_SPAN
        return
    parent = propagate.extract({name.decode("latin-1"): value.decode("latin-1") for name, value in headers})
    attributes = {"http.request.method": method, "url.scheme": "http"}
    with _tracer.start_as_current_span(method, parent, SpanKind.SERVER, attributes, record_exception=False) as span:
        yield span


def end_server(span: Span, method: str, route: str, status: int, request_id: str) -> None:
    """Say what became of the request."""
    if not span.is_recording():
        return
    span.update_name(f"{method} {route}" if route else method)
    span.set_attributes({"http.response.status_code": status, "roo.request_id": request_id})
    if route:
        span.set_attribute("http.route", route)
    if status >= _SERVER_ERROR:
        fail(span, str(status), "")


@contextmanager
def processing(queue: str, message_id: str, properties: Mapping[Any, Any] | None) -> Iterator[Span]:
    """The span of one message, current inside the block: a child of, and linked to, the sender's."""
    if not _enabled:
        yield trace.INVALID_SPAN
        return
    parent = propagate.extract(_carrier(properties))
    sender = trace.get_current_span(parent).get_span_context()
    links = [Link(sender)] if sender.is_valid else []
    attributes = _messaging(queue, "process") | {"messaging.message.id": message_id}
    with _tracer.start_as_current_span(f"process {queue}", parent, SpanKind.CONSUMER, attributes, links) as span:
        yield span


@contextmanager
def sending(entity: str) -> Iterator[Span]:
    """The span of publishing a result; what is made inside the block can carry it."""
    if not _enabled:
        yield trace.INVALID_SPAN
        return
    attributes = _messaging(entity, "send")
    with _tracer.start_as_current_span(f"send {entity}", None, SpanKind.PRODUCER, attributes) as span:
        yield span


@contextmanager
def settling(queue: str, verb: str) -> Iterator[Span]:
    """The span of settling a message."""
    if not _enabled:
        yield trace.INVALID_SPAN
        return
    attributes = _messaging(queue, "settle") | {"messaging.operation.name": verb}
    with _tracer.start_as_current_span(f"{verb} {queue}", None, SpanKind.CLIENT, attributes) as span:
        yield span


def carried_on(properties: Mapping[Any, Any] | None) -> dict[str, str]:
    """The application properties by which a result continues its request's trace: ours, or else the sender's own."""
    carrier: dict[str, str] = {}
    if _enabled:
        propagate.inject(carrier)
        return carrier
    if not properties:
        return carrier
    known = _carrier(properties)
    return {name: known[name] for name in (_TRACEPARENT, _TRACESTATE) if name in known}


def fail(span: Span, kind: str, description: str) -> None:
    """Mark a span as failed with an error of a stable `kind`."""
    if span.is_recording():
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, description))


def record_stages(stages: Iterable[Stage], batch: BatchTrace | None) -> None:
    """Make the stages children of the current span; the one named `compute` leads to the batch's span."""
    if not _enabled or not trace.get_current_span().is_recording():
        return
    offset = time.time() - time.monotonic()
    for stage in stages:
        started = _nanoseconds(stage.started_at + offset)
        span = _tracer.start_span(stage.name, start_time=started)
        if stage.name == "compute" and batch is not None:
            _join(span, batch, offset)
        span.end(_nanoseconds(stage.started_at + stage.seconds + offset))


def _join(span: Span, batch: BatchTrace, offset: float) -> None:
    """One span for the batch, linked to all its members; each member's own span is linked to it."""
    if batch.span is None:
        started = _nanoseconds(batch.started_at + offset)
        made = _tracer.start_span(
            f"batch {batch.model}",
            trace.set_span_in_context(span),
            attributes={"roo.model": batch.model, "roo.batch.size": batch.size},
            links=[Link(member) for member in batch.members],
            start_time=started,
        )
        made.end(_nanoseconds(batch.started_at + batch.seconds + offset))
        batch.span = made.get_span_context()
    span.set_attribute("roo.batch.size", batch.size)
    span.add_link(batch.span)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def _messaging(destination: str, operation: str) -> dict[str, str]:
    return {
        "messaging.system": "servicebus",
        "messaging.destination.name": destination,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }


def _carrier(properties: Mapping[Any, Any] | None) -> dict[str, str]:
    """Properties as text; what Azure's libraries call `Diagnostic-Id` is a `traceparent` where none is given."""
    known = {_text(name): _text(value) for name, value in (properties or {}).items()}
    if _TRACEPARENT not in known and _DIAGNOSTIC_ID in known:
        known[_TRACEPARENT] = known[_DIAGNOSTIC_ID]
    return known


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
