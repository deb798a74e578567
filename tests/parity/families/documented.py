"""Formats whose families' code is not installed here, because of its licence, its age or its size.

Pictures are prepared and answers read as each family's documentation and published code say, written anew with
OpenCV, Pillow and torchvision's suppression; the network is a small one of our own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torchvision.ops import batched_nms, box_convert, nms

from tests.parity.agreement import Found
from tests.parity.families.base import SLACK, Family, found, to_onnx
from tests.parity.families.network import CLASSES, IMAGENET, PLAIN, SIGNED, SIZE, STRIDES, Boxes, Levels, cells, network
from tests.parity.pictures import as_opencv

Tensor = torch.Tensor
Prepared = tuple[Tensor, Callable[[Tensor], Tensor]]
"""A picture as the network takes it, and the way back for boxes [n, 4] as x0, y0, x1, y1."""

THRESHOLD = 0.35


def ultralytics_letterbox(image: np.ndarray) -> Prepared:
    """LetterBox(auto=False) and scale_boxes, with RGB of 0 to 1."""
    height, width = image.shape[:2]
    gain = min(SIZE / height, SIZE / width)
    new_width, new_height = max(round(width * gain), 1), max(round(height * gain), 1)
    across, down = (SIZE - new_width) / 2, (SIZE - new_height) / 2
    left, right, top, bottom = (round(side) for side in (across - 0.1, across + 0.1, down - 0.1, down + 0.1))
    if (width, height) != (new_width, new_height):
        image = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    image = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    factors = torch.tensor([width / new_width, height / new_height] * 2)
    return _tensor(image[..., ::-1] / 255), lambda boxes: (boxes - torch.tensor([left, top] * 2)) * factors


def stretched(mean: Any = 0, std: Any = 1, scale: float = 1 / 255, rgb: bool = True, cubic: bool = False) -> Any:
    """cv2.resize to the input, whatever the aspect."""

    def prepare(image: np.ndarray) -> Prepared:
        kind = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
        pixels = cv2.resize(image, (SIZE, SIZE), interpolation=kind)
        factors = torch.tensor([image.shape[1] / SIZE, image.shape[0] / SIZE] * 2)
        pixels = pixels[..., ::-1] if rgb else pixels
        return _tensor((pixels * scale - np.array(mean)) / np.array(std)), lambda boxes: boxes * factors

    return prepare


def _tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32))


Candidates = tuple[Tensor, Tensor, Tensor]
"""Boxes [n, 4] as x0, y0, x1, y1 in pixels of the input, scores [n], classes [n]."""


def best_class(boxes: Tensor, scores: Tensor, threshold: float = THRESHOLD) -> Candidates:
    """Ultralytics' non_max_suppression before the suppression: of each candidate its best class."""
    values, classes = scores.max(1)
    kept = values >= threshold - SLACK
    return boxes[kept], values[kept], classes[kept]


def every_class(boxes: Tensor, scores: Tensor) -> Candidates:
    """multiclass_nms before the suppression: each class of a candidate that scores enough."""
    rows, classes = torch.where(scores >= THRESHOLD - SLACK)
    return boxes[rows], scores[rows, classes], classes


def suppressed(found_: Candidates, iou: float, most: int = 300) -> Candidates:
    """Suppression within each class; the best `most`."""
    boxes, scores, classes = found_
    kept = batched_nms(boxes, scores, classes, iou)[:most]
    return boxes[kept], scores[kept], classes[kept]


def corners(boxes: Tensor) -> Tensor:
    """From centres and sizes."""
    return box_convert(boxes, "cxcywh", "xyxy")


class _Head(nn.Module):
    """A format: the network's boxes and scores in another form."""

    def __init__(self, boxes: Boxes, form: Callable[[Tensor, Tensor], tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.boxes, self.form = boxes, form

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.form(*self.boxes(images))


def _boxes(levels: Levels) -> Boxes:
    return Boxes(network(4, levels)).eval()


def _family(
    name: str,
    form: Callable[[Tensor, Tensor], tuple[Tensor, ...]],
    outputs: list[str],
    manifest: dict[str, Any],
    prepare: Callable[[np.ndarray], Prepared],
    read: Callable[[Tensor, Tensor], Candidates],
    *,
    batch: bool = True,
    levels: Levels = PLAIN,
) -> Family:
    """A family whose head is `form` of boxes (centres and sizes) and scores; its own code reads them by `read`."""

    def export(path: Path) -> None:
        to_onnx(_Head(_boxes(levels), form).eval(), (torch.rand(1, 3, SIZE, SIZE),), path, ["images"], outputs, batch)

    def reference(data: bytes) -> list[Found]:
        image = as_opencv(data)
        prepared, back = prepare(image)
        with torch.no_grad():
            boxes, scores = (part[0] for part in _boxes(levels)(prepared))
        return _placed(read(corners(boxes), scores), back, image)

    content = {"task": "detection", "input": {"size": [SIZE, SIZE]}, **manifest}
    return Family(name, export, content, reference, classes=CLASSES, threshold=THRESHOLD)


def _placed(candidates: Candidates, back: Callable[[Tensor], Tensor], image: np.ndarray) -> list[Found]:
    boxes, scores, classes = candidates
    limits = torch.tensor([image.shape[1], image.shape[0]] * 2)
    return found(back(boxes).clamp(min=0).minimum(limits), scores, classes)


def _ultralytics() -> list[Family]:
    """Heads as `yolo export format=onnx` writes them, for the tasks and with `nms=True`."""

    def suppress(boxes: Tensor, scores: Tensor) -> Candidates:
        return suppressed(best_class(boxes, scores), 0.7)

    def without(boxes: Tensor, scores: Tensor) -> Candidates:
        values, order = scores.max(1).values.topk(300)
        kept = order[values >= THRESHOLD - SLACK]
        return boxes[kept], scores[kept].max(1).values, scores[kept].argmax(1)

    def table(boxes: Tensor, scores: Tensor) -> Tensor:
        return torch.cat((boxes, scores), -1)

    def end_to_end(boxes: Tensor, scores: Tensor) -> Tensor:
        best, classes = scores.max(-1)
        values, order = best.topk(300)
        chosen = boxes.gather(1, order[..., None].expand(-1, -1, 4))
        numbers = classes.gather(1, order)[..., None].float()
        middle, sides = chosen.split(2, -1)
        return torch.cat((middle - sides / 2, middle + sides / 2, values[..., None], numbers), -1)

    def queries(boxes: Tensor, scores: Tensor) -> Tensor:
        order = scores.max(-1).values.topk(300).indices[..., None]
        chosen = boxes.gather(1, order.expand(-1, -1, 4)) / SIZE
        return torch.cat((chosen, scores.gather(1, order.expand(-1, -1, CLASSES))), -1)

    def segment(boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        coefficients, prototypes = boxes.repeat(1, 1, 8), boxes.sum((1, 2))[:, None, None]
        return torch.cat((table(boxes, scores), coefficients), -1).transpose(1, 2), prototypes

    like = {"like": "ultralytics"}
    transposed = {"decoder": "yolo", "transposed": True, "coordinates": "normalized", "nms": False}
    letterbox = ultralytics_letterbox
    return [
        _family("ultralytics", lambda b, s: (table(b, s).transpose(1, 2),), ["output0"], like, letterbox, suppress),
        _family("ultralytics-end-to-end", lambda b, s: (end_to_end(b, s),), ["output0"],
                {**like, "detection": {"decoder": "end_to_end"}}, letterbox, without),
        _family("ultralytics-segment", segment, ["output0", "output1"],
                {**like, "detection": {"extras": 32, "outputs": ["output0"]}}, letterbox, suppress),
        _family("ultralytics-rt-detr", lambda b, s: (queries(b, s),), ["output0"],
                {**like, "input": {"size": [SIZE, SIZE], "resize": "stretch"}, "detection": transposed},
                stretched(), without),
        _family("yolov5", lambda b, s: (torch.cat((b, s.amax(-1, keepdim=True) * 0 + 1, s), -1),), ["output0"],
                {**like, "detection": {"decoder": "yolo_objectness", "iou_threshold": 0.45}}, letterbox,
                lambda b, s: suppressed(best_class(b, s), 0.45)),
    ]  # fmt: skip


def _suppressed_in_the_graph(boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One picture's best 100 after the suppression of all classes together, which PyTorch can export."""
    middle, sides = boxes[0].split(2, -1)
    edges = torch.cat((middle - sides / 2, middle + sides / 2), -1)
    values, classes = scores[0].max(-1)
    kept = nms(edges, values, 0.5)[:100]
    return edges[kept], values[kept], classes[kept]


def _in_graph(boxes: Tensor, scores: Tensor) -> Candidates:
    values, classes = scores.max(-1)
    kept = nms(boxes, values, 0.5)[:100]
    kept = kept[values[kept] >= THRESHOLD - SLACK]
    return boxes[kept], values[kept], classes[kept]


def _yxyx(boxes: Tensor) -> Tensor:
    return boxes[:, [1, 0, 3, 2]]


def _with_suppression() -> list[Family]:
    """Graphs that end in a suppression: TF Object Detection's names, EfficientNMS's, PaddleDetection's, the indices."""

    def tf(boxes: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        edges, values, classes = _suppressed_in_the_graph(boxes, scores)
        count = torch.ones_like(values).sum()[None]
        return _yxyx(edges)[None] / SIZE, values[None], classes[None].float() + 1, count

    def efficient_nms(boxes: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        edges, values, classes = _suppressed_in_the_graph(boxes, scores)
        count = torch.ones_like(values).sum().int()[None, None]
        more = torch.full((5,), 0.99)  # behind the count TensorRT leaves what was there
        return (count, torch.cat((edges, edges[:1].expand(5, -1)))[None], torch.cat((values, more))[None],
                torch.cat((classes, classes[:1].expand(5)))[None].int())  # fmt: skip

    def rows(boxes: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        edges, values, classes = _suppressed_in_the_graph(boxes, scores)
        return (torch.cat((classes[:, None].float(), values[:, None], edges), -1),)

    def rows_of_pictures(boxes: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        edges, values, classes = _suppressed_in_the_graph(boxes, scores)
        numbers = classes[:, None].float()
        return (torch.cat((numbers * 0, edges, numbers, values[:, None]), -1),)

    def indices(boxes: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        middle, sides = boxes.split(2, -1)
        edges = torch.cat((middle - sides / 2, middle + sides / 2), -1)
        values, classes = scores[0].max(-1)
        kept = nms(edges[0], values, 0.5)[:100]
        return edges, scores.transpose(1, 2), torch.stack((kept * 0, classes[kept], kept), -1)

    single = {"batch_dimension": False}
    labels = ["detection_boxes", "detection_scores", "detection_classes", "num_detections"]
    tensorrt = {"decoder": "boxes_scores_labels", "outputs": ["det_boxes", "det_scores", "det_classes", "num_dets"]}
    exact = {"size": [SIZE, SIZE], "resize": "stretch", "reduce": "none"}
    imagenet = {"size": [SIZE, SIZE], "constants": {}}
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    yolov7 = {"decoder": "end_to_end", "columns": ["image", "box", "class", "score"]}
    chosen = {"decoder": "boxes_scores_indices"}
    letterbox = ultralytics_letterbox
    return [
        _family("tf-od", tf, labels,
                {"like": "tf-od", "input": {**exact, "dtype": "float32", "layout": "nchw"}}, stretched(), _in_graph,
                batch=False),
        _family("efficient-nms", efficient_nms, ["num_dets", "det_boxes", "det_scores", "det_classes"],
                {"like": "ultralytics", "detection": {**tensorrt, "nms": False}}, letterbox, _in_graph, batch=False),
        _family("paddle", rows, ["rows"], {"like": "paddle", "input": imagenet}, stretched(mean, std, cubic=True),
                _in_graph, batch=False, levels=IMAGENET),
        _family("yolov7-end-to-end", rows_of_pictures, ["output"],
                {"like": "ultralytics", "detection": yolov7, "batching": single}, letterbox, _in_graph, batch=False),
        _family("nms-indices", indices, ["boxes", "scores", "indices"],
                {"like": "ultralytics", "detection": chosen, "batching": single}, letterbox, _in_graph, batch=False),
    ]  # fmt: skip


def _raw(name: str, offset: float, manifest: dict[str, Any], prepare: Any, parts: bool) -> Family:
    """NanoDet-Plus and PicoDet: scores and distributions of 8 numbers for each side."""
    built = network(32, IMAGENET)
    places, strides = cells()

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.built = built

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            raw = self.built(images)
            scores, sides = raw[..., 32:].sigmoid(), raw[..., :32]
            if not parts:
                return (torch.cat((scores, sides), -1),)
            counts = [(SIZE // stride) ** 2 for stride in STRIDES]
            return (*scores.split(counts, 1), *sides.split(counts, 1))

    outputs = [f"{part}{stride}" for part in ("scores", "sides") for stride in STRIDES] if parts else ["output"]

    def export(path: Path) -> None:
        to_onnx(Head().eval(), (torch.rand(1, 3, SIZE, SIZE),), path, ["images"], outputs)

    def reference(data: bytes) -> list[Found]:
        image = as_opencv(data)
        prepared, back = prepare(image)
        with torch.no_grad():
            raw = built(prepared)[0]
        distances = (raw[:, :32].reshape(-1, 4, 8).softmax(-1) * torch.arange(8)).sum(-1) * strides
        points = (places + offset) * strides
        boxes = torch.cat((points - distances[:, :2], points + distances[:, 2:]), -1)
        return _placed(suppressed(every_class(boxes, raw[:, 32:].sigmoid()), 0.6), back, image)

    section = {"decoder": "gfl", "cell_offset": offset, "multi_label": True, "iou_threshold": 0.6,
               "max_detections": 300, "max_candidates": 5000}  # fmt: skip
    content = {"task": "detection", "input": {"size": [SIZE, SIZE], "resize": "stretch", "reduce": "none", **manifest},
               "detection": section}  # fmt: skip
    return Family(name, export, content, reference, classes=CLASSES, threshold=THRESHOLD)


def _face_detector() -> Family:
    """pytorch-ssd's and UltraFace's: shares of the input, class 0 the background, hard_nms within each class."""

    def form(boxes: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        middle, sides = boxes.split(2, -1)
        edges = torch.cat((middle - sides / 2, middle + sides / 2), -1) / SIZE
        return torch.cat((1 - scores.amax(-1, keepdim=True), scores), -1), edges

    manifest = {"like": "ssd", "detection": {"max_detections": 300}}
    return _family("ssd", form, ["scores", "boxes"], manifest, stretched(127, 128, 1.0),
                   lambda b, s: suppressed(best_class(b, s), 0.45), levels=SIGNED)  # fmt: skip


def families() -> list[Family]:
    """All of them."""
    nanodet_mean, nanodet_std = [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]
    nanodet = {"channels": "bgr", "scale": 1.0, "mean": nanodet_mean, "std": nanodet_std}
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    return [
        *_ultralytics(),
        *_with_suppression(),
        _raw("nanodet", 0.0, nanodet, stretched(nanodet_mean, nanodet_std, 1.0, rgb=False), parts=False),
        _raw("picodet", 0.5, {"mean": mean, "std": std, "interpolation": "cubic"},
             stretched(mean, std, cubic=True), parts=True),
        _face_detector(),
    ]  # fmt: skip
