"""CLIP, SigLIP, DINOv2, Depth Anything and DPT by transformers' own image processors and post-processing."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor
from transformers import (
    BitImageProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    Dinov2Model,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessor,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from tests.parity.families.values import First, Values, depths, export_of, processed, vectors
from tests.parity.pictures import opened

SOURCE = "transformers 5"
SIDE, DEPTH_SIDE = 224, 252
_SMALL = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 192}
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


@cache
def clip() -> nn.Module:
    """A small image tower of CLIP with its projection."""
    torch.manual_seed(21)
    config = CLIPVisionConfig(**_SMALL, image_size=SIDE, patch_size=32, projection_dim=64)
    return First(_lively(CLIPVisionModelWithProjection(config)), ("image_embeds", "last_hidden_state"))


@cache
def siglip() -> nn.Module:
    """A small image tower of SigLIP."""
    torch.manual_seed(22)
    config = SiglipVisionConfig(**_SMALL, image_size=SIDE, patch_size=32)
    return First(_lively(SiglipVisionModel(config)), ("last_hidden_state", "pooler_output"))


@cache
def dinov2() -> nn.Module:
    """A small DINOv2."""
    torch.manual_seed(23)
    config = Dinov2Config(hidden_size=96, num_hidden_layers=3, num_attention_heads=3, image_size=SIDE, patch_size=14)
    return First(_lively(Dinov2Model(config)), ("last_hidden_state", "pooler_output"))


@cache
def depth_anything() -> nn.Module:
    """A small Depth Anything."""
    torch.manual_seed(24)
    backbone = Dinov2Config(
        hidden_size=96, num_hidden_layers=4, num_attention_heads=3, image_size=DEPTH_SIDE, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=96, patch_size=14, neck_hidden_sizes=[24, 48, 96, 96],
        fusion_hidden_size=24, head_hidden_size=16,
    )  # fmt: skip
    return _lively(DepthAnythingForDepthEstimation(config))


@cache
def dpt() -> nn.Module:
    """A small DPT."""
    torch.manual_seed(25)
    config = DPTConfig(
        **_SMALL | {"num_hidden_layers": 4}, image_size=DEPTH_SIDE - DEPTH_SIDE % 16, patch_size=16,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[24, 48, 96, 96], fusion_hidden_size=24,
    )  # fmt: skip
    return _lively(DPTForDepthEstimation(config))


def _lively(model: nn.Module) -> nn.Module:
    """Fresh weights are so small that every picture gives nearly the same."""
    with torch.no_grad():
        for weight in (each.weight for each in model.modules() if isinstance(each, nn.Linear | nn.Conv2d)):
            weight.copy_(torch.randn_like(weight) * weight[0].numel() ** -0.5)
    return model.eval()


def _open_clips(data: bytes) -> torch.Tensor:
    """As open_clip/transform.py, image_transform, for evaluation."""
    config = CLIPImageProcessor()
    resize = Resize(SIDE, InterpolationMode.BICUBIC, antialias=True)
    levels = Normalize(config.image_mean, config.image_std)
    found: torch.Tensor = Compose([resize, CenterCrop(SIDE), ToTensor(), levels])(opened(data))
    return found[None]


def values() -> list[Values]:
    """Three towers of vectors, one of them by another package's transform as well, and two networks of depths."""
    square = {"height": SIDE, "width": SIDE}
    clips = {"size": {"shortest_edge": SIDE}, "crop_size": square}
    dino = BitImageProcessor(size={"shortest_edge": 256}, crop_size=square, resample=3, **_IMAGENET)
    side = dpt().config.image_size
    flat = DPTImageProcessor(size={"height": DEPTH_SIDE, "width": DEPTH_SIDE}, **_IMAGENET)
    halves = DPTImageProcessor(size={"height": side, "width": side}, **_HALVES)
    named = ["image_embeds", "last_hidden_state"]
    pooled = ["last_hidden_state", "pooler_output"]
    mean = "--like dinov2 --set embedding.output=last_hidden_state --set embedding.pick=mean"
    skipped = f"{mean} --set embedding.skip_tokens=1"
    dino_way = processed(dino)

    def mean_of(data: bytes) -> NDArray[np.float32]:
        return vectors(dinov2(), dino_way)(data)[1:].mean(axis=0)

    return [
        _vectors("clip", "--like clip", clip(), named, 0, processed(CLIPImageProcessor(**clips))),
        _vectors("open-clip", "--like open-clip", clip(), named, 0, _open_clips, "open_clip 3, documented"),
        _vectors("siglip", "--like siglip", siglip(), pooled, 1, processed(SiglipImageProcessor(size=square))),
        _vectors("dinov2", "--like dinov2", dinov2(), pooled, 1, dino_way),
        Values("dinov2-mean", "embedding", export_of(dinov2(), (SIDE, SIDE), pooled), skipped, mean_of, SOURCE),
        _depths("depth-anything", "--like depth-anything", depth_anything(), DEPTH_SIDE, flat),
        _depths("dpt", "--like dpt", dpt(), side, halves),
    ]  # fmt: skip


def _vectors(
    name: str, options: str, model: nn.Module, outputs: list[str], place: int, prepare, source: str = SOURCE
) -> Values:  # type: ignore[no-untyped-def]
    export = export_of(model, (SIDE, SIDE), outputs)
    return Values(name, "embedding", export, options, vectors(model, prepare, place), source)


def _depths(name: str, options: str, model: nn.Module, side: int, processor) -> Values:  # type: ignore[no-untyped-def]
    export = export_of(First(model, ("predicted_depth",)), (side, side), ["predicted_depth"])
    return Values(name, "maps", export, options, depths(model, processor), SOURCE)
