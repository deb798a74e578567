"""Ultralytics by its own package: `YOLO.predict` on the network, `YOLO.export` to the file.

The package is under the AGPL-3.0. It is installed in the environment of `make test-parity` alone, and nothing of it
is in what is shipped.
"""

import os
from collections.abc import Callable
from contextlib import chdir
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml

from tests.parity import weights
from tests.parity.agreement import Found
from tests.parity.families.base import SLACK, Family, found, samples
from tests.parity.pictures import as_opencv, few_pictures, pictures_for_masks

# It asks for its settings' folder and its packages while it is imported.
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_VERBOSE", "false")

from torch import nn
from ultralytics import RTDETR, YOLO
from ultralytics.nn.modules.head import Detect, Pose26, RTDETRDecoder
from ultralytics.nn.tasks import yaml_model_load

SIZE, THRESHOLD, IOU, QUERIES = 320, 0.35, 0.7, 300
SOURCE = "ultralytics 8.4"


@cache
def yolo(configuration: str) -> YOLO:
    """A YOLO of this configuration with random weights."""
    torch.manual_seed(8)
    built = YOLO(configuration, verbose=False)
    network = built.model.float().eval()
    pictures = samples((SIZE, SIZE), 12)
    forward = partial(network, pictures)
    weights.settle(network, forward, calm=0.3)
    head = network.model[-1]
    assert isinstance(head, Detect)
    for prefix in ("", "one2one_") if hasattr(head, "one2one_cv2") else ("",):
        boxes, classes = ([level[-1] for level in getattr(head, prefix + name)] for name in ("cv2", "cv3"))
        weights.spread(classes, forward, 0.0, 1.0)
        weights.thin(classes, forward, 0.02, THRESHOLD)
        # Distances of the sides, which must be positive, or logits of such.
        weights.spread(boxes, forward, *((4.0, 0.8) if head.reg_max == 1 else (0.5, 1.0)))
        further = getattr(head, prefix + ("cv4_kpts" if isinstance(head, Pose26) else "cv4"), ())
        # Coefficients, places and scores of points, logits of angles or angles.
        weights.spread(
            [level[-1] if isinstance(level, nn.Sequential) else level for level in further], forward, 0.0, 1.0
        )
    return as_saved(built)


@cache
def rt_detr() -> RTDETR:
    """RT-DETR with a short ResNet, two layers of a decoder and random weights."""
    torch.manual_seed(9)
    configuration = yaml_model_load("rtdetr-resnet50.yaml")
    for *_, arguments in configuration["backbone"][1:]:
        arguments[-1] = 1
    configuration["head"][-1][-1] += [256, QUERIES, 4, 8, 2]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rtdetr-short.yaml"
        file.write_text(yaml.safe_dump(configuration))
        built = RTDETR(str(file))
    network = built.model.float().eval()
    pictures = samples((SIZE, SIZE), 2)
    forward = partial(network, pictures)
    weights.settle(network, forward)
    head = network.model[-1]
    assert isinstance(head, RTDETRDecoder)
    weights.spread([head.enc_score_head], forward, -2.0, 1.5)
    weights.spread([head.dec_score_head[-1]], forward, 0.0, 1.0)
    weights.thin([head.dec_score_head[-1]], forward, 0.1, THRESHOLD)
    return as_saved(built)


def as_saved(model: Any) -> Any:
    """`save` keeps 16 bits of each weight."""
    model.model.half().float()
    return model


def _reference(model: Callable[[], Any], **options: Any) -> Callable[[bytes], list[Found]]:
    """`predict` with the shape that an exported file has: `rect=False`."""

    def detections(data: bytes) -> list[Found]:
        (result,) = model().predict(
            as_opencv(data), imgsz=SIZE, rect=False, conf=THRESHOLD - SLACK, verbose=False, save=False, device="cpu",
            **options,
        )  # fmt: skip
        height, width = result.orig_shape
        boxes = result.boxes if result.obb is None else result.obb
        corners = boxes.xyxy.clamp(min=0).minimum(torch.tensor([width, height] * 2))  # RT-DETR's are not clipped
        masks = options.get("retina_masks") and (result.masks.data if result.masks else corners[:, :0, None])
        points = None if result.keypoints is None else result.keypoints.data
        turned = None if result.obb is None else result.obb.xyxyxyxy
        return found(corners, boxes.conf, boxes.cls, masks, points, turned)

    return detections


def export(model: Callable[[], Any], path: Path, size: int = SIZE, **options: Any) -> None:
    """`export` of a copy: it fuses and changes the network that it is called on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = path.with_suffix(".pt").resolve()
    model().save(source)
    kind = type(model())
    with chdir(path.parent):
        written = kind(source).export(format="onnx", imgsz=size, simplify=False, device="cpu", verbose=False, **options)
    Path(written).rename(path)


def _family(name: str, configuration: str, options: str = "", nms: bool | None = None, classes: int = 80) -> Family:
    """`nms`: True puts the suppression into the graph, False takes the head that needs none."""

    def model() -> YOLO:
        return yolo(configuration)

    def write(path: Path) -> None:
        export(model, path, nms=nms, **({"iou": IOU, "conf": THRESHOLD - SLACK, "max_det": 300} if nms else {}))

    masks = "masks.kind" in options
    more = {"retina_masks": True} if masks else {}  # masks of the picture's own pixels
    reference = _reference(model, iou=IOU, max_det=300, **({"nms": False} if nms is False else {}), **more)
    options = f"--like ultralytics {options}".strip()
    # Of a detection that has more than a box a small picture tells enough, and masks of large ones are coarser.
    pictures = partial(pictures_for_masks, 2**19) if "extras" in options else few_pictures
    return Family(name, write, options, reference, SOURCE, classes, THRESHOLD, pictures=pictures, masks=masks)


def families() -> list[Family]:
    """Heads of four generations and tasks, a graph with its suppression, and RT-DETR."""
    table = "--decoder end_to_end"
    others = "--set detection.outputs=[output0] --set detection.extras"
    masks = f"{others}=32 --set detection.masks.kind=prototypes --set detection.masks.output=output1"
    points = "--set detection.extras=51 --set detection.keypoints.names=coco"
    turned = "--set detection.extras=1 --set detection.rotated=true"
    return [
        _family("ultralytics-yolov8", "yolov8n.yaml"),
        _family("ultralytics-yolo11", "yolo11n.yaml"),
        _family("ultralytics-yolo26", "yolo26n.yaml"),
        _family("ultralytics-yolov10-end-to-end", "yolov10n.yaml", table, nms=False),
        _family("ultralytics-yolo26-end-to-end", "yolo26n.yaml", table, nms=False),
        _family("ultralytics-nms", "yolov8n.yaml", table, nms=True),
        _family("ultralytics-segment", "yolov8n-seg.yaml", masks),
        _family("ultralytics-yolo11-segment", "yolo11n-seg.yaml", masks),
        _family("ultralytics-pose", "yolov8n-pose.yaml", points, classes=1),
        _family("ultralytics-yolo26-pose-end-to-end", "yolo26n-pose.yaml", f"{table} {points}", nms=False, classes=1),
        _family("ultralytics-obb", "yolo11n-obb.yaml", turned),
        _family("ultralytics-obb-nms", "yolov8n-obb.yaml", f"{table} {turned}", nms=True),
        _family("ultralytics-yolo26-obb-end-to-end", "yolo26n-obb.yaml", f"{table} {turned}", nms=False),
        Family("ultralytics-rt-detr", lambda path: export(rt_detr, path), "--like ultralytics-rt-detr",
               _reference(rt_detr), SOURCE, threshold=THRESHOLD),
    ]  # fmt: skip
