"""How torchvision's models are exported and served: the program's inputs and outputs, and the manifest."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from app.commands import entries
from app.commands.torch_extra import torch
from app.commands.zoo import ZooModel
from app.vision.keypoint_sets import NAMES

_STRIDE = 32
_INTERPOLATIONS = {"bilinear": "linear", "bicubic": "cubic"}
_BACKGROUND = ("__background__", "background")


@dataclass(frozen=True, slots=True)
class ExportSpec:
    """What is exported: `module` takes float32 [batch, 3, height, width] and gives `outputs`; it is served as
    `manifest` (without labels and digests) says. Without `batched` it takes one picture at a time.
    """

    module: Any
    outputs: tuple[str, ...]
    manifest: dict[str, Any]
    labels: tuple[str, ...]
    batched: bool = True
    formats: tuple[str, ...] = ("onnx", "pt2")
    input_name: str = "image"


class Named(torch.nn.Module):  # type: ignore[misc]  # torch is not checked
    """A model whose outputs have names in a `.pt2` file too."""

    def __init__(self, model: torch.nn.Module, *outputs: str) -> None:
        super().__init__()
        self.model = model
        self.outputs = outputs

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The model's only output, as a tuple."""
        return (self.model(image),)


class Segmenting(torch.nn.Module):  # type: ignore[misc]  # torch is not checked
    """A segmentation model without its auxiliary head: to the scores [batch, classes, height, width]."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The scores, as a tuple."""
        return (self.model(image)["out"],)


class Detecting(torch.nn.Module):  # type: ignore[misc]  # torch is not checked
    """A detector for one picture at a time: [1, 3, height, width] to boxes [1, M, 4], scores and labels [1, M], and
    where it gives some masks [1, M, 28, 28], each over its box, or keypoints [1, M, K, 2] and their scores [1, M, K].
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model
        if self.masks:
            # The model's last step makes each mask as large as the picture, which is a hundred times the input.
            model.transform.postprocess = _as_they_are

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What torchvision's list of dictionaries says of the only picture."""
        (found,) = self.model([image[0]])
        rows = found["boxes"][None], found["scores"][None], found["labels"][None]
        if self.masks:
            return (*rows, found["masks"][None, :, 0])
        if self.keypoints:
            return (*rows, found["keypoints"][None, :, :, :2], found["keypoints_scores"][None])
        return rows

    @property
    def masks(self) -> bool:
        """Whether it gives masks."""
        return getattr(self._deciding, "mask_roi_pool", None) is not None

    @property
    def keypoints(self) -> int:
        """How many keypoints it gives of each detection."""
        predictor = getattr(self._deciding, "keypoint_predictor", None)
        return 0 if predictor is None else int(predictor.kps_score_lowres.out_channels)

    @property
    def threshold(self) -> float:
        """The score below which the model itself drops a detection."""
        return float(self._deciding.score_thresh)

    @contextmanager
    def finding_more(self, threshold: float) -> Iterator[None]:
        """Drop only what scores below `threshold`, for as long as the block lasts."""
        before = self.threshold
        self._deciding.score_thresh = threshold
        try:
            yield
        finally:
            self._deciding.score_thresh = before

    @property
    def _deciding(self) -> Any:
        return getattr(self.model, "roi_heads", self.model)


def spec_of(model: ZooModel, labels: tuple[str, ...] | None) -> ExportSpec:
    """How `model` is exported and served; `labels` in place of its own. Raises `InvalidManifest` where these do not
    fit its classes.
    """
    if model.kind == "classification":
        return _spec_of_classifier(model, labels)
    if model.kind == "segmentation":
        return _spec_of_segmenter(model, labels)
    return _spec_of_detector(model, labels)


def _spec_of_classifier(model: ZooModel, labels: tuple[str, ...] | None) -> ExportSpec:
    preset = model.transforms
    (crop,), (shorter,) = preset.crop_size, preset.resize_size
    manifest = {
        "task": "classification",
        "description": model.origin,
        "input": {
            "size": [crop, crop],
            "resize": "center_crop",
            "resize_to": shorter,
            "mean": list(preset.mean),
            "std": list(preset.std),
            "interpolation": _INTERPOLATIONS[preset.interpolation.value],
        },
        "classification": {"softmax": True},
    }
    names = entries.fit_labels(labels or model.categories, model.classes)
    return ExportSpec(Named(model.module, "scores").eval(), ("scores",), manifest, names)


def _spec_of_segmenter(model: ZooModel, labels: tuple[str, ...] | None) -> ExportSpec:
    preset = model.transforms
    (shorter,) = preset.resize_size
    side = _square_for(shorter)
    names = entries.fit_labels(labels or model.categories, model.classes)
    manifest = {
        "task": "segmentation",
        "description": f"{model.origin}; letterboxed to {side} x {side}, torchvision's own: shorter side {shorter}",
        "input": {
            "size": [side, side],
            "resize": "letterbox",
            "mean": list(preset.mean),
            "std": list(preset.std),
            "interpolation": _INTERPOLATIONS[preset.interpolation.value],
        },
        "segmentation": {"background": names[0] in _BACKGROUND},
        # A picture's scores have tens of megabytes; on a CPU lraspp took a third longer a picture in batches of four.
        "batching": {"max_size": 4, "max_size_cpu": 1},
    }
    return ExportSpec(Segmenting(model.module).eval(), ("scores",), manifest, names)


def _spec_of_detector(model: ZooModel, labels: tuple[str, ...] | None) -> ExportSpec:
    """torchvision's detectors normalise, decode and suppress in the model itself, with a variable count of boxes."""
    transform = model.module.transform
    if transform.fixed_size is not None:
        (width, height), resize = transform.fixed_size, "stretch"
    else:
        width = height = _square_for(transform.min_size[-1])
        resize = "letterbox"
        transform.min_size, transform.max_size = (height,), width
    manifest: dict[str, Any] = {
        "task": "detection",
        "description": model.origin,
        "input": {"size": [width, height], "resize": resize},
        "detection": {"decoder": "boxes_scores_labels", "nms": False, "label_offset": 1},
        "batching": {"max_size": 1},
    }
    known = model.categories[1:] if model.categories else None
    names = entries.fit_labels(labels or known, model.classes - 1)
    detecting = Detecting(model.module).eval()
    outputs: tuple[str, ...] = ("boxes", "scores", "labels")
    if detecting.masks:
        manifest["detection"] |= {"outputs": list(outputs), "masks": {"kind": "crops", "output": "masks"}}
        outputs = (*outputs, "masks")
    elif detecting.keypoints:
        manifest["detection"] |= {"outputs": list(outputs), "keypoints": _keypoints(detecting.keypoints)}
        outputs = (*outputs, "keypoints", "keypoints_scores")
    return ExportSpec(detecting, outputs, manifest, names, batched=False, formats=("onnx",))


def _keypoints(count: int) -> dict[str, Any]:
    """torchvision's are COCO's where there are as many; a point's score is the height of its heat map's peak."""
    names = "coco" if count == len(NAMES["coco"]) else [str(number) for number in range(count)]
    return {"names": names, "output": "keypoints", "scores": "keypoints_scores", "apply_sigmoid": True}


def _as_they_are(result: Any, input_sizes: Any, sizes: Any) -> Any:
    """In place of `GeneralizedRCNNTransform.postprocess`, where the input is the picture."""
    return result


def _square_for(shorter: int) -> int:
    """A square that holds a 4:3 picture of about this shorter side, which is all that torchvision prescribes."""
    return round(shorter * 4 / 3 / _STRIDE) * _STRIDE
