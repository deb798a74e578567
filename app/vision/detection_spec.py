"""How a detector's outputs are to be read: the manifest's section."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from app.vision.check_digits import CheckedFormat
from app.vision.keypoint_spec import KeypointSpec
from app.vision.mask_spec import MaskSpec
from app.vision.symbologies import Format, Reading
from app.vision.tasks import TaskSpec
from app.vision.tiling import Tiles

BoxFormat = Literal["xyxy", "cxcywh", "xywh", "yxyx"]
Column = Literal["box", "score", "class", "image"]

ROLES: dict[str, tuple[str, ...]] = {
    "boxes_scores": ("boxes", "scores"),
    "boxes_scores_indices": ("boxes", "scores", "indices"),
    "boxes_scores_labels": ("boxes", "scores", "labels"),
    "end_to_end": ("detections",),
    "fastestdet": ("predictions",),
    "gfl": ("predictions",),
    "yolo": ("predictions",),
    "yolo_objectness": ("predictions",),
    "yolox": ("predictions",),
}
"""What each decoder reads, in its order."""

_PLUGIN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_CENTRES = ("yolo", "yolo_objectness", "yolox", "fastestdet")
_OWN_PIXELS = {"yolox": ("pixels", "cxcywh"), "gfl": ("pixels", "xyxy"), "fastestdet": ("normalized", "cxcywh")}
_BELONGS = {
    "background": ("boxes_scores",),
    "apply_softmax": ("boxes_scores",),
    "multi_label": ("boxes_scores", "gfl", "yolo"),
    "extras": ("yolo", "yolo_objectness", "end_to_end"),
    "masks": ("boxes_scores", "boxes_scores_labels", "end_to_end", "yolo", "yolo_objectness"),
    "keypoints": ("boxes_scores", "boxes_scores_labels", "end_to_end", "yolo", "yolo_objectness"),
    "rotated": ("yolo", "end_to_end"),
    "transposed": ("yolo",),
    "label_offset": ("boxes_scores_labels", "end_to_end"),
}
"""Which decoders have a use for a field that is not at its default; a plug-in may for all of them."""


class DetectionSpec(TaskSpec):
    """The manifest's section for `task: detection`.

    Decoders, with M candidates and C classes, by the outputs that they read, in this order:

    - `boxes_scores`: boxes [M, 4] and scores [M, C] (or [M] for a single class);
    - `boxes_scores_labels`: boxes [M, 4], scores [M] and class numbers [M], the first class being `label_offset`, and
      perhaps how many of them count;
    - `boxes_scores_indices`: boxes [M, 4], scores [C, M] and what ONNX's NonMaxSuppression chose of them, [K, 3];
    - `end_to_end`: a row for each detection, with what `columns` says: [N, 6];
    - `yolo`: [4 + C, M], as Ultralytics' YOLOv8 and later export it, or `transposed`;
    - `yolo_objectness`: [M, 5 + C], as YOLOv5 and decoded YOLOX export it; a score is objectness x class;
    - `yolox`: [M, 5 + C] raw, box centres relative to the cells of `strides` and sizes as logarithms (Ge et al. 2021,
      arXiv 2107.08430);
    - `gfl`: [M, C + 4 * bins] raw, or scores and then sides of every stride: distributions of the distances from the
      cells' points (`cell_offset` 0.5: their middle) to a box's sides (NanoDet, PicoDet);
    - `fastestdet`: [5 + C, rows, columns] raw;
    - `package.module:function`: somebody's own; see `decoders.plugin`.

    Each candidate counts for its best class only or, with `multi_label`, for every one that scores enough. `extras`
    are further numbers for each candidate behind the classes (mask coefficients, keypoints, an angle). `outputs` names
    the graph's outputs in the decoder's order, where that is not the graph's own. With `background`, class 0 (or with
    `last` the last) means nothing and is not among the labels. At most `max_candidates` go into the suppression (class
    by class or, if `class_agnostic`, of all together), so that a noisy picture costs no more than a busy one.

    With `rotated` boxes are oriented: centre, width and height, and the last of the extras is the angle in radians by
    which they are turned clockwise, from the right. They suppress each other by how much they overlap as they lie.

    With `tiles`, pictures that are larger than one are looked at tile by tile; see `Tiles`.

    With `masks`, each detection has a mask; see `MaskSpec`. With `keypoints`, each has points; see `KeypointSpec`.

    With `read_barcodes`, codes on the detections of `barcode_labels` are read: of `barcode_formats` (all common ones,
    where none is named), and of those in `barcode_check_digits` only where their last character is a right check digit.
    """

    decoder: str
    outputs: tuple[str, ...] | None = None
    coordinates: Literal["pixels", "normalized"] = "pixels"
    box_format: BoxFormat = "xyxy"
    background: bool | Literal["last"] = False
    label_offset: int = 0
    apply_sigmoid: bool = False
    apply_softmax: bool = False
    multi_label: bool = False
    transposed: bool = False
    extras: int = Field(default=0, ge=0)
    rotated: bool = False
    masks: MaskSpec | None = None
    keypoints: KeypointSpec | None = None
    columns: tuple[Column, ...] = ("box", "score", "class")
    strides: tuple[int, ...] = (8, 16, 32)
    cell_offset: float = Field(default=0.0, ge=0, le=1)
    bins: int = Field(default=8, ge=2, le=64)
    tiles: Tiles | None = None
    score_threshold: float = Field(default=0.25, ge=0, le=1)
    iou_threshold: float = Field(default=0.45, ge=0, le=1)
    max_detections: int = Field(default=100, ge=1)
    max_candidates: int = Field(default=1000, ge=1, le=10_000)
    nms: bool = True
    class_agnostic: bool = False
    read_barcodes: bool = False
    barcode_labels: tuple[str, ...] = ("label",)
    barcode_formats: tuple[Format, ...] = ()
    barcode_check_digits: tuple[CheckedFormat, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _decoders_own_boxes(cls, section: Any) -> Any:
        if not isinstance(section, dict):
            return section
        decoder = str(section.get("decoder"))
        centres = decoder in _CENTRES or bool(section.get("rotated"))
        defaults: dict[str, Any] = {"box_format": "cxcywh"} if centres else {}
        if decoder == "fastestdet":
            defaults["coordinates"] = "normalized"
        if decoder in ("end_to_end", "boxes_scores_indices"):
            defaults["nms"] = False
        return {**defaults, **section}

    @field_validator("decoder")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ROLES and not _PLUGIN.fullmatch(name):
            raise ValueError(f"is one of {', '.join(ROLES)}, or a function of yours as package.module:function")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> "DetectionSpec":
        if self.decoder in ROLES:
            self._check_fields()
        if self.apply_sigmoid and self.apply_softmax:
            raise ValueError("apply_softmax: scores are made by one of apply_sigmoid and apply_softmax; remove one")
        self._check_masks()
        self._check_keypoints()
        self._check_rotated()
        if sorted(self.columns) not in (["box", "class", "score"], ["box", "class", "image", "score"]):
            raise ValueError("columns: must be box, score and class, and perhaps image, each once")
        unread = set(self.barcode_check_digits) - set(self.barcode_formats or self.barcode_check_digits)
        if unread:
            raise ValueError(f"barcode_check_digits: {', '.join(sorted(unread))} is not among barcode_formats; add it")
        if not self.strides or any(stride < 1 for stride in self.strides):
            raise ValueError(f"strides: must be positive, not {list(self.strides)}")
        return self

    def _check_masks(self) -> None:
        if self.masks is None:
            return
        if self.decoder not in ROLES or self.rotated:
            raise ValueError(f"masks: {'rotated' if self.rotated else 'a decoder of your own'} gives none; remove it")
        if self.masks.kind == "prototypes" and not self.extras:
            raise ValueError("masks: prototypes are weighed by each candidate's extras; set extras to their number")

    def _check_keypoints(self) -> None:
        if self.keypoints is None:
            return
        if self.decoder not in ROLES:
            raise ValueError("keypoints: a decoder of your own gives none; remove it")
        wanted = self.keypoints.extras
        if wanted and ((self.masks is not None and self.masks.kind == "prototypes") or self.rotated):
            raise ValueError("keypoints: the extras hold mask coefficients or an angle; name the points' output")
        if wanted and self.extras != wanted:
            raise ValueError(
                f"keypoints: {len(self.keypoints.names)} points of {self.keypoints.dimensions} numbers are {wanted}, "
                f"but extras is {self.extras}; set extras to {wanted}, or correct names or dimensions"
            )

    def _check_rotated(self) -> None:
        if not self.rotated:
            return
        if not self.extras:
            raise ValueError("rotated: the angle is the last of the extras; set extras to 1")
        if (self.box_format, self.coordinates) != ("cxcywh", "pixels"):
            raise ValueError("rotated: boxes are cxcywh in pixels; remove box_format and coordinates")

    def _check_fields(self) -> None:
        """What this decoder has no use for would be ignored silently."""
        for name, decoders in _BELONGS.items():
            if getattr(self, name) and self.decoder not in decoders:
                raise ValueError(f"{name}: belongs to {' and '.join(decoders)}, not to {self.decoder}; remove it")
        expected = None if self.outputs is None else roles_of(self, len(self.outputs))
        if self.outputs is not None and expected is not None and len(self.outputs) != len(expected):
            raise ValueError(f"outputs: {self.decoder} reads {len(expected)} ({', '.join(expected)}); name as many")
        own = _OWN_PIXELS.get(self.decoder)
        if own is not None and (self.coordinates, self.box_format) != own:
            raise ValueError(f"decoder: {self.decoder} makes its own pixels; remove coordinates and box_format")

    @property
    def others(self) -> tuple[str, ...]:
        """The outputs that are read beside the decoder's."""
        masks = () if self.masks is None else (self.masks.output,)
        return masks if self.keypoints is None else (*masks, *self.keypoints.outputs)

    @property
    def reading(self) -> Reading:
        """Which barcodes are read."""
        return Reading(self.barcode_formats, self.barcode_check_digits)


def roles_of(spec: DetectionSpec, count: int) -> tuple[str, ...]:
    """What a decoder reads where there are `count` outputs, in its order: some read more if there are more."""
    if spec.decoder == "boxes_scores_labels" and count == 4:
        return (*ROLES[spec.decoder], "count")
    if spec.decoder == "gfl" and count > 1:
        return tuple(f"{part} of stride {stride}" for part in ("scores", "sides") for stride in spec.strides)
    return ROLES[spec.decoder]
