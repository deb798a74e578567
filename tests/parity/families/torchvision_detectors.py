"""torchvision's detectors by their own code: the whole model, which resizes, normalises and suppresses.

A file has one size, so the model is made for that: `min_size` and `max_size` are the input's side, and each picture is
padded to it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import detection, resnet18
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.transforms.functional import to_tensor

from tests.parity import weights
from tests.parity.agreement import Found
from tests.parity.families.base import SLACK, Family, found, samples, to_onnx
from tests.parity.pictures import few_pictures, opened, pictures_for_masks

SIZE, CLASSES, THRESHOLD = 320, 12, 0.3
SOURCE = "torchvision 0.29"
_OPTIONS: dict[str, Any] = {"weights": None, "weights_backbone": None, "num_classes": CLASSES + 1}
_SIDES = {"min_size": SIZE, "max_size": SIZE}


@cache
def ssdlite() -> nn.Module:
    """SSDlite with random weights."""
    model = detection.ssdlite320_mobilenet_v3_large(**_OPTIONS)
    heads = model.head.classification_head.module_list, model.head.regression_head.module_list
    return _settled(model, [part[-1] for part in heads[0]], [part[-1] for part in heads[1]], 1.0)


@cache
def faster_rcnn() -> nn.Module:
    """Faster R-CNN with a MobileNet and random weights."""
    model = detection.fasterrcnn_mobilenet_v3_large_320_fpn(**_OPTIONS, **_SIDES)
    forward = _forward(model)
    weights.settle(model, forward)
    weights.spread([model.rpn.head.cls_logits], forward, 0.0, 1.5)
    weights.spread([model.rpn.head.bbox_pred], forward, 0.0, 0.3)
    predictor = model.roi_heads.box_predictor
    return _settled(model, [predictor.cls_score], [predictor.bbox_pred], 1.5)


@cache
def retina_net() -> nn.Module:
    """RetinaNet with a small ResNet, narrow features and random weights."""
    levels = {"layer2": "0", "layer3": "1", "layer4": "2"}
    backbone = BackboneWithFPN(resnet18(weights=None), levels, [128, 256, 512], 64, LastLevelP6P7(64, 64))
    model = detection.RetinaNet(backbone, CLASSES + 1, **_SIDES)
    return _settled(model, [model.head.classification_head.cls_logits], [model.head.regression_head.bbox_reg], 1.0)


def _rcnn(kind: Any, classes: int = CLASSES, **more: Any) -> nn.Module:
    """A detector of this kind with a small ResNet and narrow features."""
    levels = {"layer2": "0", "layer3": "1", "layer4": "2"}
    backbone = BackboneWithFPN(resnet18(weights=None), levels, [128, 256, 512], 64)
    return kind(
        backbone, rpn_anchor_generator=AnchorGenerator(((16, 32),) * 4, ((0.5, 1.0, 2.0),) * 4),
        box_roi_pool=_pool(7), box_head=TwoMLPHead(64 * 7 * 7, 128), box_predictor=FastRCNNPredictor(128, classes + 1),
        rpn_post_nms_top_n_test=200, box_detections_per_img=40, **more, **_SIDES,
    )  # fmt: skip


def _pool(side: int) -> nn.Module:
    return MultiScaleRoIAlign(["0", "1", "2"], side, 2)


@cache
def keypoint_rcnn() -> nn.Module:
    """Keypoint R-CNN with random weights, which finds persons alone."""
    torch.manual_seed(6)
    head, predictor = KeypointRCNNHeads(64, (32,)), KeypointRCNNPredictor(32, 17)
    model = _rcnn(
        detection.KeypointRCNN, 1, keypoint_roi_pool=_pool(14), keypoint_head=head, keypoint_predictor=predictor
    )
    forward = _forward(model)
    weights.settle(model, forward)
    weights.spread([model.rpn.head.cls_logits], forward, 0.0, 1.5)
    weights.spread([model.rpn.head.bbox_pred], forward, 0.0, 0.3)
    boxes = model.roi_heads.box_predictor
    return _settled(model, [boxes.cls_score], [boxes.bbox_pred], 1.5)


@cache
def mask_rcnn() -> nn.Module:
    """Mask R-CNN with random weights."""
    head, predictor = MaskRCNNHeads(64, (32,), 1), MaskRCNNPredictor(32, 32, CLASSES + 1)
    model = _rcnn(detection.MaskRCNN, mask_roi_pool=_pool(14), mask_head=head, mask_predictor=predictor)
    forward = _forward(model)
    weights.settle(model, forward)
    weights.spread([model.rpn.head.cls_logits], forward, 0.0, 1.5)
    weights.spread([model.rpn.head.bbox_pred], forward, 0.0, 0.3)
    predictor = model.roi_heads.box_predictor
    _settled(model, [predictor.cls_score], [predictor.bbox_pred], 1.5)
    heads = model.roi_heads
    weights.spread([heads.mask_predictor.mask_fcn_logits], forward, 0.0, 30.0)
    # Parts of a box, as trained heads give them, and not noise in all of its cells, which no resizing keeps.
    calm = nn.AvgPool2d(11, 1, 5, count_include_pad=False)
    heads.mask_predictor = nn.Sequential(heads.mask_predictor, calm, calm)
    return model


def _forward(model: nn.Module) -> Callable[[], object]:
    pictures = list(samples((SIZE, SIZE)))
    model.eval()
    model.transform.size_divisible = SIZE
    return lambda: model(pictures)


def _settled(model: nn.Module, classes: list[Any], boxes: list[Any], deviation: float) -> nn.Module:
    torch.manual_seed(5)
    forward = _forward(model)
    weights.settle(model, forward)
    weights.spread(classes, forward, 0.0, deviation)
    weights.spread(boxes, forward, 0.0, 0.5)
    if isinstance(model, detection.RetinaNet):
        weights.thin(classes, forward, 0.02, THRESHOLD)
    return model


def _reference(model: Callable[[], nn.Module]) -> Callable[[bytes], list[Found]]:
    """The model on what its own transform makes of a picture, margins included, and its way back.

    A file cannot be told where the picture ends in its input. Asked for the picture itself, the model would clip boxes
    to that before it suppresses them, and not only after it.
    """

    def detections(data: bytes) -> list[Found]:
        image = opened(data)
        transform = model().transform
        prepared, _ = transform([to_tensor(image)])
        mean, std = (torch.tensor(values)[:, None, None] for values in (transform.image_mean, transform.image_std))
        with torch.no_grad(), _unpasted(model()):
            (result,) = model()([prepared.tensors[0] * std + mean])
        height, width = prepared.image_sizes[0]
        factors = torch.tensor([image.width / width, image.height / height] * 2)
        boxes = (result["boxes"] * factors).minimum(torch.tensor([image.width, image.height] * 2))
        # Class 0 is the background's, which RetinaNet scores as well.
        kept = (result["scores"] >= THRESHOLD - SLACK) & (result["labels"] > 0)
        kept &= (boxes[:, :2] < boxes[:, 2:]).all(1)
        masks = None
        if "masks" in result:
            whole = (result["boxes"] * factors)[kept]  # of which the head has seen what is in the margins, too
            masks = paste_masks_in_image(result["masks"][kept], whole, (image.height, image.width))[:, 0] > 0.5
        points = None
        if "keypoints" in result:
            places = (result["keypoints"][kept, :, :2] * factors[:2]).minimum(torch.tensor([image.width, image.height]))
            points = torch.cat((places, result["keypoints_scores"][kept, :, None].sigmoid()), -1)
        return found(boxes[kept], result["scores"][kept], result["labels"][kept] - 1, masks, points)

    return detections


@contextmanager
def _unpasted(model: nn.Module) -> Iterator[None]:
    """Masks over their boxes, and not over the picture: its last step is left out, where the input is the picture."""
    transform = model.transform
    transform.postprocess = lambda result, *_: result
    yield
    del transform.postprocess


class _OnePicture(nn.Module):
    """As torchvision's documentation exports: the outputs are those of one picture."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        (result,) = self.model([images[0]])
        return tuple(result[name] for name in _OUTPUTS if name in result)


_OUTPUTS = ("boxes", "scores", "labels", "masks", "keypoints", "keypoints_scores")


def _family(name: str, model: Callable[[], nn.Module], options: str, classes: int = CLASSES) -> Family:
    masks, keypoints = "masks.kind" in options, "keypoints.names" in options

    def export(path: Path) -> None:
        example = samples((SIZE, SIZE), 1)
        names = [*_OUTPUTS[:3], *_OUTPUTS[3:4] * masks, *_OUTPUTS[4:] * keypoints]
        with _unpasted(model()) if masks else nullcontext():
            to_onnx(_OnePicture(model()).eval(), (example,), path, ["images"], names, batch=False)

    return Family(
        name, export, options, _reference(model), SOURCE, classes=classes, threshold=THRESHOLD,
        pictures=pictures_for_masks if masks or keypoints else few_pictures, masks=masks,
    )  # fmt: skip


def families() -> list[Family]:
    """One of each kind."""
    masks = "--like torchvision --set detection.masks.kind=crops --set detection.masks.output=masks"
    points = (
        "--like torchvision --set detection.keypoints.names=coco --set detection.keypoints.output=keypoints "
        "--set detection.keypoints.scores=keypoints_scores --set detection.keypoints.apply_sigmoid=true"
    )
    return [
        _family("torchvision-ssdlite", ssdlite, "--like torchvision --set input.resize=stretch"),
        _family("torchvision-faster-rcnn", faster_rcnn, "--like torchvision"),
        _family("torchvision-retinanet", retina_net, "--like torchvision"),
        _family("torchvision-mask-rcnn", mask_rcnn, masks),
        _family("torchvision-keypoint-rcnn", keypoint_rcnn, points, classes=1),
    ]
