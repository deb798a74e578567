"""Formats whose families' code is not installed here, around a small network of our own; see `ways`."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.ops import nms

from tests.parity.agreement import Found
from tests.parity.families.base import SLACK, Family, to_onnx
from tests.parity.families.network import CLASSES, IMAGENET, PLAIN, SIGNED, SIZE, Boxes, Levels, network
from tests.parity.families.ways import (
    IMAGENET_LEVELS,
    SOURCE,
    THRESHOLD,
    Candidates,
    Prepared,
    Tensor,
    best_class,
    corners,
    placed,
    stretched,
    suppressed,
    ultralytics_letterbox,
    yolov5_letterbox,
)
from tests.parity.pictures import as_opencv


class _Head(nn.Module):
    """A format: the network's boxes and scores in another form."""

    def __init__(self, boxes: Boxes, form: "Form", tensor: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.boxes, self.form, self.tensor = boxes, form, tensor

    def forward(self, images: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        return self.form(*self.boxes(images if self.tensor is None else self.tensor(images)), *more)


def _boxes(levels: Levels) -> Boxes:
    return Boxes(network(4, levels)).eval()


Form = Callable[..., tuple[Tensor, ...]]
"""A format, made of boxes and scores (and of what else the graph takes)."""
Read = Callable[[Tensor, Tensor], Candidates]


def _family(
    name: str,
    form: Form,
    outputs: list[str],
    options: str,
    prepare: Callable[[np.ndarray], Prepared],
    read: Read,
    *,
    batch: bool = True,
    levels: Levels = PLAIN,
    tensor: Callable[[Tensor], Tensor] | None = None,
    more: Mapping[str, Tensor] | None = None,
) -> Family:
    """A family whose head is `form` of boxes (centres and sizes) and scores; its own code reads them by `read`.

    Where the graph takes something else than prepared pictures, `tensor` makes those of it; `more` are its further
    inputs.
    """

    def export(path: Path) -> None:
        example = torch.rand(1, 3, SIZE, SIZE)
        if tensor is not None:
            example = (example.permute(0, 2, 3, 1) * 255).to(torch.uint8)
        head = _Head(_boxes(levels), form, tensor).eval()
        to_onnx(head, (example, *(more or {}).values()), path, ["images", *(more or {})], outputs, batch)

    def reference(data: bytes) -> list[Found]:
        image = as_opencv(data)
        prepared, back = prepare(image)
        with torch.no_grad():
            boxes, scores = (part[0] for part in _boxes(levels)(prepared))
        return placed(read(corners(boxes), scores), back, image)

    return Family(name, export, options, reference, SOURCE, CLASSES, THRESHOLD)  # fmt: skip


def _yolo() -> list[Family]:
    """YOLOv5's and YOLOv7's heads, and Ultralytics' RT-DETR as it was exported before 8.4."""

    def queries(boxes: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        order = scores.max(-1).values.topk(300).indices[..., None]
        chosen = boxes.gather(1, order.expand(-1, -1, 4)) / SIZE
        return (torch.cat((chosen, scores.gather(1, order.expand(-1, -1, CLASSES))), -1),)

    def without(boxes: Tensor, scores: Tensor) -> Candidates:
        values, order = scores.max(1).values.topk(300)
        kept = order[values >= THRESHOLD - SLACK]
        return boxes[kept], scores[kept].max(1).values, scores[kept].argmax(1)

    def table(boxes: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        return (torch.cat((boxes, scores.amax(-1, keepdim=True) * 0 + 0.97, scores), -1),)

    def rows_of_pictures(boxes: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        edges, values, classes = _suppressed_in_the_graph(boxes, scores)
        numbers = classes[:, None].float()
        return (torch.cat((numbers * 0, edges, numbers, values[:, None]), -1),)

    normalized = "--set detection.transposed=true --set detection.coordinates=normalized --set detection.nms=false"
    columns = "--set detection.columns=[image,box,class,score] --set batching.batch_dimension=false"
    return [
        _family("yolov5", table, ["output0"], "--like yolov5", yolov5_letterbox,
                lambda boxes, scores: suppressed(best_class(boxes, scores * 0.97), 0.45)),
        _family("yolov7-end-to-end", rows_of_pictures, ["output"], f"--like yolov5 --decoder end_to_end {columns}",
                yolov5_letterbox, _in_graph, batch=False),
        _family("ultralytics-rt-detr-before-8.4", queries, ["output0"],
                f"--like ultralytics --decoder yolo --set input.resize=stretch {normalized}", stretched(), without),
    ]  # fmt: skip


def _suppressed_in_the_graph(boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One picture's best 100 after the suppression of all classes together, which PyTorch can export."""
    edges = corners(boxes[0])
    values, classes = scores[0].max(-1)
    kept = nms(edges, values, 0.5)[:100]
    return edges[kept], values[kept], classes[kept]


def _in_graph(boxes: Tensor, scores: Tensor) -> Candidates:
    values, classes = scores.max(-1)
    kept = nms(boxes, values, 0.5)[:100]
    kept = kept[values[kept] >= THRESHOLD - SLACK]
    return boxes[kept], values[kept], classes[kept]


def _with_suppression() -> list[Family]:
    """Graphs that end in a suppression: TF Object Detection's, EfficientNMS's, PaddleDetection's, the indices."""

    def tf(boxes: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        edges, values, classes = _suppressed_in_the_graph(boxes, scores)
        count = torch.ones_like(values).sum()[None]
        return edges[:, [1, 0, 3, 2]][None] / SIZE, values[None], classes[None].float() + 1, count

    def efficient_nms(boxes: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        edges, values, classes = _suppressed_in_the_graph(boxes, scores)
        count = torch.ones_like(values).sum().int()[None, None]
        more = torch.full((5,), 0.99)  # behind the count TensorRT leaves what was there
        return (count, torch.cat((edges, edges[:1].expand(5, -1)))[None], torch.cat((values, more))[None],
                torch.cat((classes, classes[:1].expand(5)))[None].int())  # fmt: skip

    def rows(boxes: Tensor, scores: Tensor, factors: Tensor) -> tuple[Tensor, ...]:
        edges, values, classes = _suppressed_in_the_graph(boxes, scores)
        return (torch.cat((classes[:, None].float(), values[:, None], edges / factors.flip(1).repeat(1, 2)), -1),)

    def indices(boxes: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        edges = corners(boxes)
        values, classes = scores[0].max(-1)
        kept = nms(edges[0], values, 0.5)[:100]
        return edges, scores.transpose(1, 2), torch.stack((kept * 0, classes[kept], kept), -1)

    tf_outputs = ["detection_boxes", "detection_scores", "detection_classes", "num_detections"]
    tensorrt = ["num_dets", "det_boxes", "det_scores", "det_classes"]
    by_name = "--set detection.outputs=[det_boxes,det_scores,det_classes,num_dets]"
    letterbox = ultralytics_letterbox
    return [
        _family("tf-od", tf, tf_outputs, "--like tf-od", stretched(), _in_graph, batch=False,
                tensor=lambda images: images.permute(0, 3, 1, 2) / 255),
        _family("efficient-nms", efficient_nms, tensorrt,
                f"--like ultralytics --decoder boxes_scores_labels --set detection.nms=false {by_name}", letterbox,
                _in_graph, batch=False),
        _family("paddle", rows, ["rows"], "--like paddle", stretched(*IMAGENET_LEVELS, cubic=True),
                _in_graph, batch=False, levels=IMAGENET, more={"scale_factor": torch.ones(1, 2)}),
        _family("nms-indices", indices, ["boxes", "scores", "indices"],
                "--like ultralytics --decoder boxes_scores_indices --set batching.batch_dimension=false", letterbox,
                _in_graph, batch=False),
    ]  # fmt: skip


def _face_detector() -> Family:
    """pytorch-ssd's and UltraFace's: shares of the input, class 0 the background, hard_nms within each class."""

    def form(boxes: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        return torch.cat((1 - scores.amax(-1, keepdim=True), scores), -1), corners(boxes) / SIZE

    return _family("ssd", form, ["scores", "boxes"], "--like ssd", stretched(127, 128, 1.0),
                   lambda boxes, scores: suppressed(best_class(boxes, scores), 0.45), levels=SIGNED)  # fmt: skip


def families() -> list[Family]:
    """All of them."""
    return [*_yolo(), *_with_suppression(), _face_detector()]
