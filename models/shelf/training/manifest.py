"""What the service is told about the model, and what evaluation therefore does too."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from models.shelf.training.arrays import CLASSES

SIZE = (512, 320)
"""Width and height of the input. Cameras are wide: a square of the same area would be nearly half padding."""
INPUT: dict[str, Any] = {
    "size": list(SIZE),
    "resize": "letterbox",
    "pad": 114,
    "channels": "rgb",
    "scale": 1 / 255,
    "mean": [0, 0, 0],
    "std": [1, 1, 1],
}
DETECTION: dict[str, Any] = {
    "decoder": "boxes_scores",
    "coordinates": "pixels",
    "iou_threshold": 0.6,
    "max_detections": 200,
    "read_barcodes": True,
}
PRECISIONS = ["fp32", "bf16", "int8"]
"""In which the card shows the same figures."""
DESCRIPTION = (
    "Warehouse rack detector: cartons, totes, pallets, labels with barcodes and empty locations. "
    "Trained on generated scenes only; see README.md."
)


def write_manifest(folder: Path, threshold: float, version: str = "1") -> None:
    """Writes `model.yaml` beside the version folder, with the checksums of its files."""
    files = [folder / version / name for name in ("model.onnx", "model.int8.onnx")]
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    manifest = {
        "task": "detection",
        "description": DESCRIPTION,
        "labels": list(CLASSES),
        "versions": "latest",
        "precisions": PRECISIONS,
        "input": INPUT,
        "detection": {**DETECTION, "score_threshold": threshold},
        "batching": {"max_size": 16, "max_size_cpu": 1},
        "sha256": {version: digests},
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False, width=120, default_flow_style=None))
