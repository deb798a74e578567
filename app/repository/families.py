"""The fields of each family of models, by task; see `presets`.

Each is written from the family's own inference code; `tests/parity` compares with that code where it can be installed.
"""

from typing import Any

Sections = dict[str, dict[str, Any]]
"""Fields by section of the manifest."""

_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
COVER = "cover"
"""A shorter side before the crop that stands to it as 256 to 224."""

_EXACT = {"reduce": "none"}
_IMAGENET = {**_EXACT, "mean": _MEAN, "std": _STD}
_PILLOW = {**_EXACT, "antialias": True}
_TENSORS = {"antialias": True, "first_pass": "horizontal"}
"""As transformers resizes, with PyTorch."""
_CLASSIFIER: Sections = {
    "input": {**_IMAGENET, "antialias": True, "rounding": "floor", "resize": "center_crop", "resize_to": COVER}
}
_CLIP = {
    **_EXACT,
    **_TENSORS,
    "interpolation": "cubic",
    "rounding": "floor",
    "resize": "center_crop",
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
}
_IMAGE_EMBEDS = {"output": "image_embeds"}
_VECTORS: Sections = {"input": _CLASSIFIER["input"]}
_QUERIES = {"coordinates": "normalized", "box_format": "cxcywh", "nms": False, "score_threshold": 0.5}
_TOP_QUERIES = {**_QUERIES, "apply_sigmoid": True, "multi_label": True, "max_detections": 300, "max_candidates": 300}

_DISTANCES = {"strides": [8, 16, 32, 64], "multi_label": True, "iou_threshold": 0.6}

FAMILIES: dict[str, dict[str, Sections]] = {
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
    # ultralytics/models/rtdetr/predict.py, whose decoder chooses the best pairs of query and class in the graph.
    "ultralytics-rt-detr": {
        "detection": {
            "input": {**_EXACT, "resize": "stretch"},
            "detection": {
                "decoder": "end_to_end",
                "box_format": "cxcywh",
                "coordinates": "normalized",
                "max_detections": 300,
            },
        },
    },
    # yolov5: utils/augmentations.py letterbox, utils/general.py non_max_suppression and scale_boxes, detect.py.
    "yolov5": {
        "detection": {
            "input": {**_EXACT, "resize": "letterbox", "pad": 114, "unscale": "ratio"},
            "detection": {"decoder": "yolo_objectness", "iou_threshold": 0.45, "max_detections": 1000},
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
    # torchvision/transforms/_presets.py; models/detection/transform.py of a model whose longer side is given.
    "torchvision": {
        "classification": _CLASSIFIER,
        "embedding": _VECTORS,
        "segmentation": {"input": {**_IMAGENET, "antialias": True, "resize": "letterbox"}},
        "detection": {
            "input": {
                **_EXACT,
                "resize": "letterbox",
                "align": "top_left",
                "rounding": "floor",
                "round_pixels": False,
                "pad": [123.675, 116.28, 103.53],
            },
            "detection": {
                "decoder": "boxes_scores_labels",
                "outputs": ["boxes", "scores", "labels"],
                "label_offset": 1,
                "nms": False,
            },
            "batching": {"batch_dimension": False},
        },
    },
    "imagenet": {
        "classification": _CLASSIFIER,
        "embedding": _VECTORS,
        "segmentation": {"input": _IMAGENET},
        "detection": {"input": _IMAGENET},
    },
    # transformers: DetrImageProcessor with a size of {height, width}, post_process_object_detection.
    "detr": {
        "detection": {
            "input": {**_IMAGENET, **_TENSORS, "resize": "stretch"},
            "detection": {
                "decoder": "boxes_scores",
                "outputs": ["pred_boxes", "logits"],
                "apply_softmax": True,
                "background": "last",
                **_QUERIES,
            },
        },
    },
    # transformers: DeformableDetrImageProcessor, post_process_object_detection.
    "deformable-detr": {
        "detection": {
            "input": {**_IMAGENET, **_TENSORS, "resize": "stretch"},
            "detection": {"decoder": "boxes_scores", "outputs": ["pred_boxes", "logits"], **_TOP_QUERIES},
        },
    },
    # transformers: RTDetrImageProcessor, for RT-DETR and D-FINE.
    "rt-detr": {
        "detection": {
            "input": {**_EXACT, **_TENSORS, "resize": "stretch"},
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
    # rfdetr: RFDETR.predict, which resizes tensors without a filter, and PostProcess.
    "rf-detr": {
        "detection": {
            "input": {**_IMAGENET, "resize": "stretch", "round_pixels": False},
            "detection": {"decoder": "boxes_scores", "outputs": ["dets", "labels"], **_TOP_QUERIES},
        },
    },
    # effdet: data/input_config.py, data/transforms.py ResizePad, bench.py DetBenchPredict.
    "effdet": {
        "detection": {
            "input": {
                **_IMAGENET,
                "antialias": True,
                "interpolation": "cubic",
                "resize": "letterbox",
                "align": "top_left",
                "rounding": "floor",
                "unscale": "ratio",
                "pad": [124, 116, 104],
            },
            "detection": {"decoder": "end_to_end", "label_offset": 1},
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
    # NanoDet-Plus: demo/demo.py, nanodet/model/head/nanodet_plus_head.py.
    "nanodet": {
        "detection": {
            "input": {
                **_EXACT,
                "resize": "stretch",
                "channels": "bgr",
                "scale": 1.0,
                "mean": [103.53, 116.28, 123.675],
                "std": [57.375, 57.12, 58.395],
            },
            "detection": {"decoder": "gfl", **_DISTANCES},
        },
    },
    # PaddleDetection: configs/picodet, ppdet/modeling/heads/pico_head.py, exported without its post-processing.
    "picodet": {
        "detection": {
            "input": {**_IMAGENET, "resize": "stretch", "interpolation": "cubic"},
            "detection": {"decoder": "gfl", "cell_offset": 0.5, **_DISTANCES},
        },
    },
    # FastestDet: test.py, utils/tool.py.
    "fastestdet": {
        "detection": {
            "input": {**_EXACT, "resize": "stretch", "channels": "bgr"},
            "detection": {"decoder": "fastestdet", "iou_threshold": 0.45},
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
    # transformers: CLIPImageProcessor, CLIPVisionModelWithProjection.
    "clip": {"embedding": {"input": {**_CLIP, "crop_rounding": "floor"}, "embedding": _IMAGE_EMBEDS}},
    # open_clip: transform.py image_transform; openai/CLIP: clip.py _transform.
    "open-clip": {"embedding": {"input": _CLIP, "embedding": _IMAGE_EMBEDS}},
    # transformers: SiglipImageProcessor, SiglipVisionModel.
    "siglip": {
        "embedding": {
            "input": {
                **_EXACT,
                **_TENSORS,
                "interpolation": "cubic",
                "resize": "stretch",
                "mean": 0.5,
                "std": 0.5,
            },
            "embedding": {"output": "pooler_output"},
        }
    },
    # transformers: BitImageProcessor as facebook/dinov2-* have it, Dinov2Model.
    "dinov2": {
        "embedding": {
            "input": {
                **_IMAGENET,
                **_TENSORS,
                "interpolation": "cubic",
                "rounding": "floor",
                "resize": "center_crop",
                "resize_to": COVER,
                "crop_rounding": "floor",
            },
            "embedding": {"output": "pooler_output"},
        }
    },
    # torchreid: data/transforms.py build_transforms; FastReID's defaults are the same but for their levels.
    "reid": {"embedding": {"input": {**_IMAGENET, "antialias": True, "resize": "stretch"}}},
    # transformers: DPTImageProcessor as LiheYoung/depth-anything-* and depth-anything/* have it, but for its aspect.
    "depth-anything": {
        "maps": {
            "input": {**_IMAGENET, **_TENSORS, "interpolation": "cubic", "resize": "stretch"},
            "maps": {"output": "predicted_depth", "unit": "inverse"},
        }
    },
    # transformers: DPTImageProcessor as Intel/dpt-* have it.
    "dpt": {
        "maps": {
            "input": {
                **_EXACT,
                **_TENSORS,
                "interpolation": "cubic",
                "resize": "stretch",
                "mean": 0.5,
                "std": 0.5,
            },
            "maps": {"output": "predicted_depth", "unit": "inverse"},
        }
    },
}
"""By family and task."""
