"""What a roll-out is judged by, read from what the service counts anyway."""

from collections.abc import Collection

from app.core.guards import Counted, Figures
from app.core.rollout import Plan
from app.telemetry import metrics

CALLERS_OWN = frozenset(
    {
        "cancelled",
        "invalid_request",
        "not_acceptable",
        "upload_timeout",
        "unsupported_image",
        "invalid_image",
        "too_many_bytes",
        "too_many_pixels",
        "model_not_found",
    }
)
"""Outcomes that are no version's fault; k8s/components/monitoring has the same list in its alerts."""


def read(plan: Plan) -> Figures:
    """All that was counted since the process started."""
    old = {version for version in plan.before if version != plan.to}
    agreements = [series for series in metrics.shadow_agreement.read() if series.labels[:2] == (plan.model, plan.to)]
    return Figures(
        _counted(plan.model, {plan.to}),
        _counted(plan.model, old),
        sum(sum(series.counts) for series in agreements),
        sum(series.total for series in agreements),
    )


def _counted(model: str, versions: Collection[str]) -> Counted:
    pictures = failed = 0.0
    for number in metrics.requests.read():
        _, name, version, outcome = number.labels
        if name == model and version in versions:
            pictures += number.value
            if outcome != "ok" and outcome not in CALLERS_OWN:
                failed += number.value
    times = [
        series.counts
        for series in metrics.request_seconds.read()
        if series.labels[1] == model and series.labels[2] in versions
    ]
    buckets = metrics.request_seconds.buckets
    empty = (0,) * (len(buckets) + 1)
    return Counted(pictures, failed, buckets, tuple(map(sum, zip(empty, *times, strict=True))))
