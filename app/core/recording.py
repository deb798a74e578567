"""What is measured and traced of an item that was answered."""

from opentelemetry.trace import SpanContext

from app.core.model import Model
from app.core.request import Answer
from app.telemetry import metrics, tracing
from app.telemetry.tracing import Stage


def record(
    source: str, model: Model, answer: Answer, received_at: float, total: float, trace: SpanContext | None
) -> None:
    """Its stages, and the `total` seconds from its arrival at `received_at` (monotonic); its spans, if it is traced."""
    labels, timings = (source, model.name, model.version), answer.timings
    stage = metrics.stage_seconds.record
    metrics.request_seconds.record(total, labels, trace)
    stage(timings.queue, (*labels, "queue"), trace)
    stage(timings.decode, (*labels, "decode"), trace)
    stage(timings.prepare, (*labels, "prepare"), trace)
    stage(timings.compute, (*labels, "compute"), trace)
    stage(timings.finish, (*labels, "finish"), trace)
    if trace is not None:
        tracing.record_stages(_stages(received_at, answer), answer.batch)


def _stages(received_at: float, answer: Answer) -> list[Stage]:
    timings = answer.timings
    return [
        Stage("admission", received_at, answer.queued_at - received_at),
        Stage("queue", answer.queued_at, timings.queue),
        Stage("decode", answer.queued_at + timings.queue, timings.decode),
        Stage("prepare", answer.queued_at + timings.queue + timings.decode, timings.prepare),
        Stage("compute", answer.batch.started_at, timings.compute),
        Stage("finish", answer.ended_at - timings.finish, timings.finish),
    ]
