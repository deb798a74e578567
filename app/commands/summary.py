"""An answer in a few words."""

from collections import Counter
from typing import Any


def summary(prediction: dict[str, Any]) -> str:
    """What was found, of a prediction as it is on the wire."""
    if prediction.get("classes") is not None:
        return ", ".join(f"{item['label']} {item['score']:.2f}" for item in prediction["classes"])
    if prediction.get("segmentation") is not None:
        parts = [f"{item['label']} {item['share']:.1%}" for item in prediction["segmentation"]["segments"]]
        return ", ".join(parts) or "nothing found"
    counts = Counter(item["label"] for item in prediction.get("detections") or [])
    texts = (prediction.get("inventory") or {}).get("texts", [])
    return ", ".join([f"{count} {label}" for label, count in sorted(counts.items())] + texts) or "nothing found"
