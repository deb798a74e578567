"""What families of models do, by name: `like: ultralytics` in a manifest stands for these fields.

Each is written from the family's own inference code; `tests/parity` compares with that code where it can be installed.
"""

from collections.abc import Mapping
from typing import Any

Sections = dict[str, dict[str, Any]]
"""Fields by section of the manifest."""

_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_COVER = "cover"
"""A shorter side before the crop that stands to it as 256 to 224."""

_EXACT = {"reduce": "none"}
_IMAGENET = {**_EXACT, "mean": _MEAN, "std": _STD}
_PILLOW = {**_EXACT, "antialias": True}
_CLASSIFIER: Sections = {
    "input": {**_IMAGENET, "antialias": True, "rounding": "floor", "resize": "center_crop", "resize_to": _COVER}
}
_QUERIES = {"coordinates": "normalized", "box_format": "cxcywh", "nms": False, "score_threshold": 0.5}
_TOP_QUERIES = {**_QUERIES, "apply_sigmoid": True, "multi_label": True, "max_detections": 300, "max_candidates": 300}

_PRESETS: dict[str, dict[str, Sections]] = {
    # ultralytics/data/augment.py LetterBox, classify_transforms; utils/ops.py scale_boxes; cfg/default.yaml.
    "ultralytics": {
        "detection": {
            "input": {**_EXACT, "resize": "letterbox", "pad": 114},
            "detection": {"decoder": "yolo", "score_threshold": 0.25, "iou_threshold": 0.7, "max_detections": 300},
        },
        "classification": {
            "input": {**_PILLOW, "resize": "center_crop", "rounding": "floor"},
            "classification": {"softmax": False},
        },
    },
    # yolox/data/data_augment.py preproc; demo/ONNXRuntime/onnx_inference.py.
    "yolox": {
        "detection": {
            "input": {
                **_EXACT,
                "resize": "letterbox",
                "align": "top_left",
                "rounding": "floor",
                "unscale": "ratio",
                "pad": 114,
                "channels": "bgr",
                "scale": 1.0,
            },
            "detection": {
                "decoder": "yolox",
                "class_agnostic": True,
                "score_threshold": 0.3,
                "iou_threshold": 0.45,
            },
        },
    },
    # torchvision/transforms/_presets.py. Its detectors prepare pictures each in its own way: see `models export`.
    "torchvision": {
        "classification": _CLASSIFIER,
        "segmentation": {"input": {**_IMAGENET, "antialias": True, "resize": "letterbox"}},
    },
    "imagenet": {
        "classification": _CLASSIFIER,
        "segmentation": {"input": _IMAGENET},
        "detection": {"input": _IMAGENET},
    },
    # transformers: DetrImageProcessor with a size of {height, width}, post_process_object_detection.
    "detr": {
        "detection": {
            "input": {**_IMAGENET, "antialias": True, "resize": "stretch"},
            "detection": {
                "decoder": "boxes_scores",
                "outputs": ["pred_boxes", "logits"],
                "apply_softmax": True,
                "background": "last",
                **_QUERIES,
            },
        },
    },
    # transformers: RTDetrImageProcessor, for RT-DETR and D-FINE.
    "rt-detr": {
        "detection": {
            "input": {**_PILLOW, "resize": "stretch"},
            "detection": {"decoder": "boxes_scores", "outputs": ["pred_boxes", "logits"], **_TOP_QUERIES},
        },
    },
    # The exports of RT-DETR's and D-FINE's own repositories, which take the picture's size as a second input.
    "d-fine": {
        "detection": {
            "input": {**_PILLOW, "resize": "stretch", "constants": {"orig_target_sizes": "size"}},
            "detection": {
                "decoder": "boxes_scores_labels",
                "outputs": ["boxes", "scores", "labels"],
                "nms": False,
                "score_threshold": 0.5,
                "max_detections": 300,
            },
        },
    },
    # pytorch-ssd and UltraFace: (x - 127) / 128, shares of the input, class 0 the background.
    "ssd": {
        "detection": {
            "input": {
                **_EXACT,
                "resize": "stretch",
                "scale": 1.0,
                "mean": [127.0, 127.0, 127.0],
                "std": [128.0, 128.0, 128.0],
            },
            "detection": {
                "decoder": "boxes_scores",
                "outputs": ["boxes", "scores"],
                "coordinates": "normalized",
                "background": True,
            },
        },
    },
    # TensorFlow Object Detection API, exporter_main_v2.
    "tf-od": {
        "detection": {
            "input": {**_EXACT, "resize": "stretch", "dtype": "uint8", "layout": "nhwc"},
            "detection": {
                "decoder": "boxes_scores_labels",
                "outputs": ["detection_boxes", "detection_scores", "detection_classes", "num_detections"],
                "box_format": "yxyx",
                "coordinates": "normalized",
                "label_offset": 1,
                "nms": False,
            },
        },
    },
    # PaddleDetection, tools/export_model.py with its suppression; PaddleClas.
    "paddle": {
        "classification": _CLASSIFIER,
        "detection": {
            "input": {
                **_IMAGENET,
                "resize": "stretch",
                "interpolation": "cubic",
                "constants": {"scale_factor": [1.0, 1.0]},
            },
            "detection": {"decoder": "end_to_end", "columns": ["class", "score", "box"]},
            "batching": {"batch_dimension": False},
        },
    },
}

NAMES = tuple(_PRESETS)
"""What `like` may name."""


def tasks(name: str) -> tuple[str, ...]:
    """The tasks of which a preset says something."""
    return tuple(_PRESETS[name])


_OF_ANY_DECODER = ("score_threshold", "iou_threshold", "max_detections", "max_candidates", "class_agnostic")


def expanded(content: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's content with the fields that its `like` stands for, each of which the content may override.

    With another decoder than the preset's, only its thresholds and counts are taken over. Raises `ValueError` where
    the preset is unknown or has nothing for the task.
    """
    name, task = content.get("like"), content.get("task")
    if name not in _PRESETS:
        raise ValueError(f"like: is one of {', '.join(NAMES)}, not {name!r}")
    if task not in _PRESETS[name]:
        raise ValueError(f"like: {name} says nothing of task {task}, only of {', '.join(tasks(name))}")
    merged = dict(content)
    for section, fields in _PRESETS[name][task].items():
        given = content.get(section) or {}
        if isinstance(given, dict):
            merged[section] = {**_fitting(fields, given), **given}
    return merged


def _fitting(fields: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The preset's fields that still mean something beside those that are given."""
    found = dict(fields)
    if given.get("decoder", found.get("decoder")) != found.get("decoder"):
        found = {key: value for key, value in found.items() if key in _OF_ANY_DECODER}
    if given.get("resize", found.get("resize")) != found.get("resize"):
        found.pop("resize_to", None)
    if found.get("resize_to") == _COVER:
        found.pop("resize_to")
        size = given.get("size")
        if isinstance(size, list | tuple) and size and all(isinstance(side, int) for side in size):
            found["resize_to"] = max(size) * 256 // 224
    return found
