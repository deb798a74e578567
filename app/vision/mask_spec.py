"""How an instance segmenter's masks are to be read, and how they are told: a part of the manifest's detection."""

from typing import Literal

from pydantic import Field

from app.vision.tasks import MaskFormat, TaskSpec

MaskKind = Literal["prototypes", "planes", "crops"]


class MaskSpec(TaskSpec):
    """The manifest's `detection.masks`: a mask for each detection, of the output `output`, which is

    - `prototypes`: [K, h, w], of which a mask is the sum, weighed by its candidate's K `extras` (YOLACT, Bolya et al.
      2019, arXiv 1904.02689; Ultralytics' segmentation heads): logits;
    - `planes`: [M, h, w] (or [M, 1, h, w]), each over the model's whole input;
    - `crops`: [M, h, w] (or [M, 1, h, w]), each over its box (Mask R-CNN's head, He et al. 2017, arXiv 1703.06870).

    What is over `threshold`, a probability, belongs to the object; with `apply_sigmoid` planes and crops are logits.
    `format` is how masks are told where a request does not say it.
    """

    kind: MaskKind
    output: str
    apply_sigmoid: bool = False
    threshold: float = Field(default=0.5, gt=0, lt=1)
    format: MaskFormat = "polygon"
