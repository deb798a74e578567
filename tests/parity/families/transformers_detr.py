"""DETR, RT-DETR and D-FINE by transformers: its image processors and their post-processing."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torchvision.transforms import Compose, Resize, ToTensor
from transformers import (
    DeformableDetrConfig,
    DeformableDetrForObjectDetection,
    DeformableDetrImageProcessor,
    DetrConfig,
    DetrForObjectDetection,
    DetrImageProcessor,
    DFineConfig,
    DFineForObjectDetection,
    ResNetConfig,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessor,
    RTDetrResNetConfig,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessor,
)
from transformers.models.hgnet_v2.configuration_hgnet_v2 import HGNetV2Config

from tests.parity import weights
from tests.parity.agreement import Found
from tests.parity.families.base import SLACK, Family, found, samples, to_onnx
from tests.parity.pictures import opened

SIZE, CLASSES, QUERIES, THRESHOLD = 320, 20, 300, 0.5
SOURCE = "transformers 5"
_LABELS = {"num_labels": CLASSES}


@cache
def detr() -> nn.Module:
    """A small DETR."""
    torch.manual_seed(1)
    backbone = ResNetConfig(depths=[1, 1, 1, 1], layer_type="basic", hidden_sizes=[32, 64, 96, 128], embedding_size=32)
    backbone.out_features = ["stage4"]
    config = DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone, d_model=128,
        encoder_layers=2, decoder_layers=2, encoder_ffn_dim=256, decoder_ffn_dim=256, num_queries=100, **_LABELS,
    )  # fmt: skip
    model = DetrForObjectDetection(config).eval()
    pictures = (samples((SIZE, SIZE)) - 0.45) / 0.225
    forward = partial(model, pixel_values=pictures)
    # Fresh ones are so alike that every query gives the same answer.
    torch.nn.init.normal_(model.model.query_position_embeddings.weight, std=3.0)
    weights.settle(model, forward)
    weights.spread([model.class_labels_classifier], forward, 0.0, 2.5)
    weights.spread([model.bbox_predictor.layers[-1]], forward, -0.5, 0.8)
    return model


@cache
def yolos() -> nn.Module:
    """A small YOLOS."""
    torch.manual_seed(13)
    config = YolosConfig(
        hidden_size=96, num_hidden_layers=3, num_attention_heads=3, intermediate_size=192, image_size=[SIZE, SIZE],
        num_detection_tokens=100, use_mid_position_embeddings=False, **_LABELS,
    )  # fmt: skip
    model = YolosForObjectDetection(config).eval()
    pictures = (samples((SIZE, SIZE)) - 0.45) / 0.225
    forward = partial(model, pixel_values=pictures)
    torch.nn.init.normal_(model.vit.embeddings.detection_tokens, std=3.0)
    weights.spread([model.class_labels_classifier.layers[-1]], forward, 0.0, 2.5)
    weights.spread([model.bbox_predictor.layers[-1]], forward, -0.5, 0.8)
    return model


@cache
def deformable_detr() -> nn.Module:
    """A small Deformable DETR."""
    torch.manual_seed(14)
    backbone = ResNetConfig(depths=[1, 1, 1, 1], layer_type="basic", hidden_sizes=[32, 64, 96, 128], embedding_size=32)
    backbone.out_features = ["stage2", "stage3", "stage4"]
    config = DeformableDetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone, d_model=64,
        encoder_layers=1, decoder_layers=2, encoder_ffn_dim=128, decoder_ffn_dim=128, num_queries=QUERIES, **_LABELS,
    )  # fmt: skip
    model = DeformableDetrForObjectDetection(config).eval()
    pictures = (samples((SIZE, SIZE)) - 0.45) / 0.225
    forward = partial(model, pixel_values=pictures)
    torch.nn.init.normal_(model.model.query_position_embeddings.weight, std=3.0)
    weights.settle(model, forward)
    weights.spread([model.class_embed[-1]], forward, 0.0, 1.5)
    weights.thin([model.class_embed[-1]], forward, 0.1, THRESHOLD)
    weights.spread([model.bbox_embed[-1].layers[-1]], forward, -0.5, 0.8)
    return model


@cache
def rt_detr() -> nn.Module:
    """A small RT-DETR."""
    torch.manual_seed(2)
    backbone = RTDetrResNetConfig(
        embedding_size=32, hidden_sizes=[32, 64, 96, 128], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = RTDetrConfig(
        backbone=None, use_pretrained_backbone=False, backbone_config=backbone, encoder_in_channels=[64, 96, 128],
        encoder_hidden_dim=64, d_model=64, decoder_in_channels=[64, 64, 64], encoder_ffn_dim=128, decoder_ffn_dim=128,
        decoder_layers=2, num_queries=QUERIES, **_LABELS,
    )  # fmt: skip
    return _spread_queries(RTDetrForObjectDetection(config).eval())


@cache
def d_fine() -> nn.Module:
    """A small D-FINE."""
    torch.manual_seed(3)
    backbone = HGNetV2Config(
        stem_channels=[3, 16, 16], stage_in_channels=[16, 64, 128, 256], stage_mid_channels=[16, 32, 64, 128],
        stage_out_channels=[64, 128, 256, 512], stage_num_blocks=[1, 1, 1, 1], stage_numb_of_layers=[2, 2, 2, 2],
        hidden_sizes=[64, 128, 256, 512], out_features=["stage2", "stage3", "stage4"], return_idx=[1, 2, 3],
    )  # fmt: skip
    config = DFineConfig(
        backbone=None, use_pretrained_backbone=False, backbone_config=backbone, encoder_hidden_dim=64, d_model=64,
        decoder_in_channels=[64, 64, 64], encoder_ffn_dim=128, decoder_ffn_dim=128, decoder_layers=2, num_queries=100,
        encoder_in_channels=list(backbone.hidden_sizes[1:]), **_LABELS,
    )  # fmt: skip
    return _spread_queries(DFineForObjectDetection(config).eval())


def _spread_queries(model: nn.Module) -> nn.Module:
    pictures = samples((SIZE, SIZE))
    forward = partial(model, pixel_values=pictures)
    weights.settle(model, forward)
    weights.spread([model.model.enc_score_head], forward, -2.0, 1.5)
    weights.spread([model.model.decoder.class_embed[-1]], forward, 0.0, 1.5)
    weights.thin([model.model.decoder.class_embed[-1]], forward, 0.1, THRESHOLD)
    return model


class _Named(nn.Module):
    """The two tensors that exporters name `logits` and `pred_boxes`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.model(pixel_values=pixel_values)
        return found.logits, found.pred_boxes


class _Deployed(nn.Module):
    """As RT-DETR's and D-FINE's tools/deployment/export_onnx.py: the post-processing is in the graph, and the picture's
    size a second input. Written from those scripts, around transformers' network.
    """

    def __init__(self, model: nn.Module, queries: int) -> None:
        super().__init__()
        self.model, self.queries = model, queries

    def forward(self, images: torch.Tensor, orig_target_sizes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = self.model(pixel_values=images)
        middle, sides = outputs.pred_boxes.split(2, -1)
        boxes = torch.cat((middle - sides / 2, middle + sides / 2), -1) * orig_target_sizes.repeat(1, 2)[:, None]
        scores, index = torch.topk(outputs.logits.sigmoid().flatten(1), self.queries, dim=-1)
        labels = index - index // CLASSES * CLASSES
        boxes = boxes.gather(1, (index // CLASSES)[..., None].repeat(1, 1, 4))
        return labels, boxes, scores


def _reference(
    model: Callable[[], nn.Module], processor: Any, prepare: Callable[[Image.Image], torch.Tensor] | None = None
) -> Callable[[bytes], list[Found]]:
    """`prepare` is the way to the network where it is not the processor's."""

    def detections(data: bytes) -> list[Found]:
        image = opened(data)
        pixels = prepare(image)[None] if prepare else processor(images=image, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            outputs = model()(pixel_values=pixels)
        sizes = [(image.height, image.width)]
        (result,) = processor.post_process_object_detection(outputs, threshold=THRESHOLD - SLACK, target_sizes=sizes)
        limits = torch.tensor([image.width, image.height] * 2)
        boxes = result["boxes"].clamp(min=0).minimum(limits)
        return found(boxes, result["scores"], result["labels"])

    return detections


def _export(model: Callable[[], nn.Module], path: Path) -> None:
    example = (torch.zeros(1, 3, SIZE, SIZE),)
    to_onnx(_Named(model()).eval(), example, path, ["pixel_values"], ["logits", "pred_boxes"])


def _export_deployed(path: Path) -> None:
    example = torch.zeros(1, 3, SIZE, SIZE), torch.tensor([[SIZE, SIZE]])
    names = ["labels", "boxes", "scores"]
    to_onnx(_Deployed(d_fine(), QUERIES).eval(), example, path, ["images", "orig_target_sizes"], names)


def families() -> list[Family]:
    """Five networks, and one of them with its post-processing in the graph."""
    size = {"height": SIZE, "width": SIZE}
    detr_way = DetrImageProcessor(size=size)
    rt_way = RTDetrImageProcessor(size=size)
    # D-FINE's and RT-DETR's tools/inference resize with Pillow, and transformers with PyTorch.
    scripts = Compose([Resize((SIZE, SIZE)), ToTensor()])
    return [
        _family("detr", "detr", detr, detr_way),
        _family("yolos", "detr", yolos, YolosImageProcessor(size=size)),
        _family("deformable-detr", "deformable-detr", deformable_detr, DeformableDetrImageProcessor(size=size)),
        _family("rt-detr", "rt-detr", rt_detr, rt_way),
        _family("d-fine", "rt-detr", d_fine, rt_way),
        Family("d-fine-deployed", _export_deployed, "--like d-fine", _reference(d_fine, rt_way, scripts),
               f"{SOURCE}, the export's script documented", CLASSES, THRESHOLD),
    ]  # fmt: skip


def _family(name: str, like: str, model: Callable[[], nn.Module], processor: Any) -> Family:
    return Family(
        name, lambda path: _export(model, path), f"--like {like}", _reference(model, processor), SOURCE, CLASSES,
        THRESHOLD,
    )  # fmt: skip
