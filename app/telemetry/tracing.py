"""Spans: where one picture's time went, from the sender's context to the result.

The OpenTelemetry API alone is used here. Until `enable` was called every function returns at once, so that nothing is
spent where nothing is exported. The core's stages become spans afterwards, on the event loop, from the moments that
the lanes note anyway: lanes do no tracing.
"""

import re
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode

_TRACEPARENT, _TRACESTATE, _DIAGNOSTIC_ID = "traceparent", "tracestate", "Diagnostic-Id"
_SOUND = {
    _TRACEPARENT: re.compile(r"[0-9a-f]{2}(-[0-9a-f]+){3}.{0,64}"),
    _TRACESTATE: re.compile(r"[\x20-\x7e]{1,512}"),
}
"""What is carried on unread must look like what it is said to be (W3C Trace Context)."""
_SERVER_ERROR = 500

NOTHING: AbstractContextManager[Span] = nullcontext(trace.INVALID_SPAN)
"""Stands for a span where none is made."""

_tracer = trace.get_tracer("roo_vision")
_propagator: TextMapPropagator | None = None
"""Of the context in headers and properties; None as long as no spans are made."""
_fields: dict[bytes, str] = {}
"""The headers that it reads."""


@dataclass(slots=True, eq=False)
class BatchTrace:
    """One computation and the traces of the pictures in it. Moments are `time.monotonic`'s, in seconds.

    `size` is how many pictures there were, `bucket` how many rows the engine computed for them.
    """

    model: str
    version: str
    size: int
    bucket: int
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
    global _propagator
    _propagator = propagate.get_global_textmap()
    _fields.update({name.lower().encode(): name for name in _propagator.fields})


def current() -> SpanContext | None:
    """The current span's identity, sampled or not; None outside any trace."""
    if _propagator is None:
        return None
    context = trace.get_current_span().get_span_context()
    return context if context.is_valid else None


def sampled_context() -> SpanContext | None:
    """The current span's identity where it is recorded, for what is computed on its behalf elsewhere."""
    if _propagator is None:
        return None
    span = trace.get_current_span()
    return span.get_span_context() if span.is_recording() else None


def server(method: str, scheme: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> AbstractContextManager[Span]:
    """The span of one HTTP request, current inside the block, whose parent the `traceparent` header names."""
    if _propagator is None:
        return NOTHING
    carrier = {_fields[name]: value.decode("latin-1") for name, value in headers if name in _fields}
    parent = _propagator.extract(carrier) if carrier else None
    attributes = {"http.request.method": method, "url.scheme": scheme, "url.path": path}
    return _tracer.start_as_current_span(method, parent, SpanKind.SERVER, attributes, record_exception=False)


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


def tell_model(span: Span, answered: Mapping[str, str]) -> None:
    """Say which `model` and `version` answered, where any did."""
    if answered and span.is_recording():
        span.set_attributes({f"roo.{name}": value for name, value in answered.items()})


def processing(queue: str, message_id: str, properties: Mapping[Any, Any] | None) -> AbstractContextManager[Span]:
    """The span of one message, current inside the block: a child of, and linked to, the sender's."""
    if _propagator is None:
        return NOTHING
    parent: Context | None = None
    if properties:
        parent = _propagator.extract(_carrier(properties, _fields.values()))
    sender = trace.get_current_span(parent).get_span_context()
    links = [Link(sender)] if sender.is_valid else []
    attributes = _messaging(queue, "process") | {"messaging.message.id": message_id}
    return _tracer.start_as_current_span(f"process {queue}", parent, SpanKind.CONSUMER, attributes, links)


def sending(entity: str) -> AbstractContextManager[Span]:
    """The span of publishing a result; what is made inside the block can carry it."""
    if _propagator is None:
        return NOTHING
    return _tracer.start_as_current_span(f"send {entity}", None, SpanKind.PRODUCER, _messaging(entity, "send"))


def keeping(sink: str) -> AbstractContextManager[Span]:
    """The span of storing a result beside the results queue; what is made inside the block can carry it."""
    if _propagator is None:
        return NOTHING
    return _tracer.start_as_current_span(f"keep {sink}", None, SpanKind.CLIENT)


def settling(queue: str, verb: str) -> AbstractContextManager[Span]:
    """The span of settling a message."""
    if _propagator is None:
        return NOTHING
    attributes = _messaging(queue, "settle") | {"messaging.operation.name": verb}
    return _tracer.start_as_current_span(f"{verb} {queue}", None, SpanKind.CLIENT, attributes)


def carried_on(properties: Mapping[Any, Any] | None) -> dict[str, str]:
    """The application properties by which a result continues its request's trace: ours, or else the sender's own."""
    carrier: dict[str, str] = {}
    if _propagator is not None:
        _propagator.inject(carrier)
    elif properties:
        known = _carrier(properties, _SOUND)
        carrier = {name: value for name, value in known.items() if _SOUND[name].fullmatch(value)}
    return carrier


def fail(span: Span, kind: str, description: str) -> None:
    """Mark a span as failed with an error of a stable `kind`."""
    if span.is_recording():
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, description))


def chain_step(name: str, model: str, version: str, crops: int | None = None) -> AbstractContextManager[Span]:
    """The span of one step of a chain, current inside the block; `crops` is how many it asks about."""
    if _propagator is None:
        return NOTHING
    attributes: dict[str, str | int] = {"roo.step": name, "roo.model": model, "roo.version": version}
    if crops is not None:
        attributes["roo.crops"] = crops
    return _tracer.start_as_current_span(f"step {name}", attributes=attributes, record_exception=False)


def record_stages(stages: Iterable[Stage], batch: BatchTrace | None) -> None:
    """Make the stages children of the current span; the one named `compute` leads to the batch's span."""
    if not trace.get_current_span().is_recording():
        return
    offset = time.time() - time.monotonic()
    said = None if batch is None else {"roo.model": batch.model, "roo.version": batch.version}
    for stage in stages:
        started = _nanoseconds(stage.started_at + offset)
        span = _tracer.start_span(stage.name, attributes=said, start_time=started)
        if stage.name == "compute" and batch is not None:
            _join(span, batch, offset)
        span.end(_nanoseconds(stage.started_at + stage.seconds + offset))


def record_crops(started_at: float, model: str, version: str, count: int) -> None:
    """One child of the current span for all of a picture's crops that one model was asked about until now."""
    if not trace.get_current_span().is_recording():
        return
    offset = time.time() - time.monotonic()
    said: dict[str, str | int] = {"roo.model": model, "roo.version": version, "roo.crops": count}
    span = _tracer.start_span(f"crops {model}", attributes=said, start_time=_nanoseconds(started_at + offset))
    span.end(_nanoseconds(time.time()))


def _join(span: Span, batch: BatchTrace, offset: float) -> None:
    """One span for the batch, linked to all its members; each member's own span is linked to it."""
    if batch.span is None:
        started = _nanoseconds(batch.started_at + offset)
        made = _tracer.start_span(
            f"batch {batch.model}",
            trace.set_span_in_context(span),
            attributes={
                "roo.model": batch.model,
                "roo.version": batch.version,
                "roo.batch.size": batch.size,
                "roo.batch.bucket": batch.bucket,
            },
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


def _carrier(properties: Mapping[Any, Any], names: Iterable[str]) -> dict[str, str]:
    """Those properties as text; what Azure's libraries call `Diagnostic-Id` is a `traceparent` where none is given."""
    known = {name: value for name in names if (value := _property(properties, name))}
    if _TRACEPARENT not in known and (value := _property(properties, _DIAGNOSTIC_ID)):
        known[_TRACEPARENT] = value
    return known


def _property(properties: Mapping[Any, Any], name: str) -> str:
    """A property as text: the SDK gives names and values as bytes where they came over the wire."""
    value = properties.get(name.encode(), properties.get(name, ""))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
