"""The statistics extension, read from the service's own metrics.

Source: Triton's "Statistics Extension". A row, or a picture, is an inference; a batch is an execution.
"""

import time
from collections.abc import Iterable
from typing import Any

from app.core.model import Model
from app.core.service import InferenceService
from app.telemetry import metrics
from app.telemetry.instruments import Distribution

_STAGES = {
    "queue": ("queue",),
    "compute_input": ("decode", "prepare"),
    "compute_infer": ("compute",),
    "compute_output": ("finish",),
}
"""Which of our stages are Triton's."""


def statistics(service: InferenceService, models: Iterable[Model]) -> dict[str, Any]:
    """How often each model was asked and how long that took, whoever asked it, since the start."""
    return {"model_stats": [_model(service, model) for model in models]}


def _model(service: InferenceService, model: Model) -> dict[str, Any]:
    key = (model.name, model.version)
    batches = [found for found in metrics.batch_size.read() if found.labels == key]
    answered = [found for found in metrics.request_seconds.read() if found.labels[1:] == key]
    stages = [found for found in metrics.stage_seconds.read() if found.labels[1:3] == key]
    outcomes = [found for found in metrics.requests.read() if found.labels[1:3] == key]
    durations = {
        name: _duration([found for found in stages if found.labels[3] in ours], len(ours))
        for name, ours in _STAGES.items()
    }
    nothing = {"count": 0, "ns": 0}
    failed = sum(int(found.value) for found in outcomes if found.labels[3] != "ok")
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": _last(service, model),
        "inference_count": round(sum(found.total for found in batches)),
        "execution_count": sum(sum(found.counts) for found in batches),
        "inference_stats": {
            "success": _duration(answered),
            "fail": {"count": failed, "ns": 0},
            **durations,
            "cache_hit": nothing,
            "cache_miss": nothing,
        },
        "batch_stats": [],
    }


def _duration(found: list[Distribution], parts: int = 1) -> dict[str, int]:
    """How many, and their nanoseconds together; where `parts` stages make one, each is counted once."""
    count = sum(sum(each.counts) for each in found) // parts
    return {"count": count, "ns": round(sum(each.total for each in found) * 1e9)}


def _last(service: InferenceService, model: Model) -> int:
    """Milliseconds since the epoch; 0 where there was none yet."""
    at = service.capacity.measured_at(model)
    return 0 if at is None else round((time.time() - (time.monotonic() - at)) * 1e3)
