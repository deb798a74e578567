"""What the service is told about the model, and what evaluation therefore does too."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from models.shelf.training.arrays import CLASSES

SIDE = 416
INPUT: dict[str, Any] = {
    "size": [SIDE, SIDE],
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
DESCRIPTION = (
    "Warehouse rack detector: cartons, totes, pallets, labels with barcodes and empty locations. "
    "Trained on generated scenes only; see README.md."
)


def write_manifest(folder: Path, threshold: float, version: str = "1") -> None:
    """Writes `model.yaml` beside the version folder, with the checksum of its model."""
    digest = hashlib.sha256((folder / version / "model.onnx").read_bytes()).hexdigest()
    manifest = {
        "task": "detection",
        "description": DESCRIPTION,
        "labels": list(CLASSES),
        "versions": "latest",
        "input": INPUT,
        "detection": {**DETECTION, "score_threshold": threshold},
        "batching": {"max_size": 16, "max_size_cpu": 1},
        "sha256": {version: digest},
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False, width=120, default_flow_style=None))
