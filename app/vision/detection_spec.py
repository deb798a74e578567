"""How a detector's outputs are to be read: the manifest's section."""

from typing import Any, Literal

from pydantic import Field, model_validator

from app.vision.check_digits import CheckedFormat
from app.vision.symbologies import Format, Reading
from app.vision.tasks import TaskSpec

Decoder = Literal["boxes_scores", "boxes_scores_labels", "yolo", "yolo_objectness", "yolox"]
BoxFormat = Literal["xyxy", "cxcywh", "xywh", "yxyx"]

ROLES: dict[Decoder, tuple[str, ...]] = {
    "boxes_scores": ("boxes", "scores"),
    "boxes_scores_labels": ("boxes", "scores", "labels"),
    "yolo": ("predictions",),
    "yolo_objectness": ("predictions",),
    "yolox": ("predictions",),
}
"""What each decoder reads, in its order."""


class DetectionSpec(TaskSpec):
    """The manifest's section for `task: detection`.

    Decoders, with M candidates and C classes, by the outputs that they read, in this order:

    - `boxes_scores`: boxes [M, 4] and scores [M, C] (or [M] for a single class);
    - `boxes_scores_labels`: boxes [M, 4], scores [M] and class numbers [M], the first class being `label_offset`;
    - `yolo`: [4 + C, M], as Ultralytics' YOLOv8 and later export it;
    - `yolo_objectness`: [M, 5 + C], as YOLOv5 and decoded YOLOX export it; a score is objectness x class;
    - `yolox`: [M, 5 + C] raw, box centres relative to the cells of `strides` and sizes as logarithms (Ge et al. 2021,
      arXiv 2107.08430).

    Each candidate counts for its best class only. `outputs` names the graph's outputs in the decoder's order, where
    that is not the graph's own. With `background`, class 0 means nothing and is not among the labels. At most
    `max_candidates` go into the suppression (class by class), so that a noisy picture costs no more than a busy one.

    With `read_barcodes`, codes on the detections of `barcode_labels` are read: of `barcode_formats` (all common ones,
    where none is named), and of those in `barcode_check_digits` only where their last character is a right check digit.
    """

    decoder: Decoder
    outputs: tuple[str, ...] | None = None
    coordinates: Literal["pixels", "normalized"] = "pixels"
    box_format: BoxFormat = "xyxy"
    background: bool = False
    label_offset: int = 0
    apply_sigmoid: bool = False
    strides: tuple[int, ...] = (8, 16, 32)
    score_threshold: float = Field(default=0.25, ge=0, le=1)
    iou_threshold: float = Field(default=0.45, ge=0, le=1)
    max_detections: int = Field(default=100, ge=1)
    max_candidates: int = Field(default=1000, ge=1, le=10_000)
    nms: bool = True
    read_barcodes: bool = False
    barcode_labels: tuple[str, ...] = ("label",)
    barcode_formats: tuple[Format, ...] = ()
    barcode_check_digits: tuple[CheckedFormat, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _yolo_boxes(cls, section: Any) -> Any:
        if isinstance(section, dict) and str(section.get("decoder")).startswith("yolo"):
            return {"box_format": "cxcywh", **section}
        return section

    @model_validator(mode="after")
    def _consistent(self) -> "DetectionSpec":
        expected = ROLES[self.decoder]
        if self.outputs is not None and len(self.outputs) != len(expected):
            raise ValueError(f"outputs: {self.decoder} reads {len(expected)} ({', '.join(expected)}); name as many")
        if self.background and self.decoder != "boxes_scores":
            raise ValueError("background: only boxes_scores has a background class; remove it or set label_offset")
        if self.label_offset and self.decoder != "boxes_scores_labels":
            raise ValueError("label_offset: only boxes_scores_labels has class numbers; remove it")
        if self.decoder == "yolox" and (self.coordinates, self.box_format) != ("pixels", "cxcywh"):
            raise ValueError("decoder: yolox makes its own pixels; remove coordinates and box_format")
        unread = set(self.barcode_check_digits) - set(self.barcode_formats or self.barcode_check_digits)
        if unread:
            raise ValueError(f"barcode_check_digits: {', '.join(sorted(unread))} is not among barcode_formats; add it")
        if not self.strides or any(stride < 1 for stride in self.strides):
            raise ValueError(f"strides: must be positive, not {list(self.strides)}")
        return self

    @property
    def reading(self) -> Reading:
        """Which barcodes are read."""
        return Reading(self.barcode_formats, self.barcode_check_digits)
