"""Answers as examples, for those who read the API's description."""

from typing import Any

DETECTION_EXAMPLE: dict[str, Any] = {
    "model": "shelf",
    "version": "1",
    "request_id": "7c0e6b7e6f3c4a6f9a4a0c3c4c0d9f55",
    "image": {"width": 1280, "height": 720},
    "coordinates": "pixels",
    "region": None,
    "tiles": None,
    "detections": [
        {
            "label": "carton",
            "class_id": 0,
            "score": 0.9312,
            "box": [412.3, 201.8, 598.1, 377.0],
            "text": None,
            "format": None,
            "codes": [],
        },
        {
            "label": "label",
            "class_id": 3,
            "score": 0.8821,
            "box": [470.2, 260.4, 530.9, 301.5],
            "text": "BX-104-7731",
            "format": "Code 128",
            "codes": [
                {"text": "BX-104-7731", "format": "Code 128", "symbology": "]C0", "gs1": None, "bytes": None},
            ],
        },
    ],
    "classes": None,
    "segmentation": None,
    "embedding": None,
    "maps": None,
    "lines": None,
    "text": None,
    "inventory": {
        "counts": {"carton": 1, "tote": 0, "pallet": 0, "label": 1, "empty_location": 0},
        "texts": ["BX-104-7731"],
    },
    "batch_size": 2,
    "timings_ms": {"queue": 0.4, "decode": 2.4, "prepare": 0.7, "compute": 19.8, "finish": 0.3, "total": 23.9},
}

SEGMENTATION_EXAMPLE: dict[str, Any] = {
    "model": "parts",
    "version": "1",
    "request_id": "0b0f6f0f5f5c4c0b8f0d5a0d3e6c1a77",
    "image": {"width": 1280, "height": 640},
    "coordinates": "pixels",
    "region": None,
    "tiles": None,
    "detections": None,
    "classes": None,
    "segmentation": {
        "segments": [{"label": "person", "class_id": 15, "share": 0.375, "box": [640.0, 0.0, 1280.0, 640.0]}],
        "map": {
            "png": "iVBORw0KGgoAAAANSUhEUgAAAAQAAAACCAAAAABawyK/AAAAD0lEQVQImWNgYOBnYAQRAACWACBQcclBAAAAAElFTkSuQmCC",
            "width": 4,
            "height": 2,
            "box": [0.0, 0.0, 1280.0, 640.0],
        },
    },
    "embedding": None,
    "maps": None,
    "lines": None,
    "text": None,
    "inventory": None,
    "batch_size": 1,
    "timings_ms": {"queue": 0.3, "decode": 5.1, "prepare": 1.1, "compute": 92.4, "finish": 4.1, "total": 103.4},
}
