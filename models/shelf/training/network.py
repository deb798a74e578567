"""The detector: a small convolutional backbone, a feature pyramid with separable convolutions, an anchor-free head.

The layout follows what is common to one-stage detectors since FCOS (Tian et al., 2019, arXiv:1904.01355): strides 8,
16 and 32, one box a cell, separate towers for classes and boxes. Each edge of a box is a distribution over its distance
from the cell's centre, as in Generalized Focal Loss (Li et al., 2020, arXiv:2006.04388); it starts one stride below
zero, so a cell beside a tiny box can still answer for it.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.shelf.training.arrays import CLASSES

STRIDES = (8, 16, 32)
WIDTHS = (16, 32, 96, 160, 224)
NECK = 96
BINS = 16
NEAREST = -1.0
"""Distance of the first bin of an edge, in strides; the bins are one stride apart."""


class Unit(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, momentum=0.03),
            nn.ReLU(inplace=True),
        )


def separable(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """A depthwise convolution and a pointwise one."""
    return nn.Sequential(Unit(inputs, inputs, kernel, groups=inputs), Unit(inputs, outputs, 1))


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(Unit(channels, channels), Unit(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = x + self.body(x)
        return summed


class Stage(nn.Module):
    """Cross-stage partial block (Wang et al., 2020, arXiv:1911.11929): half the channels pass through residuals."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        half = channels // 2
        self.split = Unit(channels, channels, 1)
        self.residuals = nn.ModuleList(Residual(half) for _ in range(depth))
        self.join = Unit(channels + half * depth, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.split(x).chunk(2, 1))
        for residual in self.residuals:
            parts.append(residual(parts[-1]))
        joined: Tensor = self.join(torch.cat(parts, 1))
        return joined


class Pool(nn.Module):
    """Spatial pyramid pooling by three stacked 5x5 maxima."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = Unit(channels, channels // 2, 1)
        self.join = Unit(channels * 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.reduce(x)]
        for _ in range(3):
            parts.append(functional.max_pool2d(parts[-1], 5, 1, 2))
        joined: Tensor = self.join(torch.cat(parts, 1))
        return joined


class Backbone(nn.Module):
    """Features at strides 8, 16 and 32."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        stem, low, mid, high, top = widths
        self.stem = nn.Sequential(Unit(3, stem, 3, 2), Unit(stem, low, 3, 2), Stage(low, 1))
        self.stage8 = nn.Sequential(Unit(low, mid, 3, 2), Stage(mid, 2))
        self.stage16 = nn.Sequential(Unit(mid, high, 3, 2), Stage(high, 2))
        self.stage32 = nn.Sequential(Unit(high, top, 3, 2), Stage(top, 1), Pool(top))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        at8 = self.stage8(self.stem(x))
        at16 = self.stage16(at8)
        return at8, at16, self.stage32(at16)


class Neck(nn.Module):
    """Top-down and bottom-up paths (PANet, Liu et al., 2018, arXiv:1803.01534) of separable convolutions."""

    def __init__(self, widths: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(Unit(width, channels, 1) for width in widths)
        self.down16, self.down8 = separable(2 * channels, channels), separable(2 * channels, channels)
        self.step16 = Unit(channels, channels, 3, 2, channels)
        self.step32 = Unit(channels, channels, 3, 2, channels)
        self.up16, self.up32 = separable(2 * channels, channels), separable(2 * channels, channels)

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
        at8, at16, at32 = (lateral(feature) for lateral, feature in zip(self.lateral, features, strict=True))
        mid = self.down16(torch.cat([at16, functional.interpolate(at32, scale_factor=2.0)], 1))
        fine = self.down8(torch.cat([at8, functional.interpolate(mid, scale_factor=2.0)], 1))
        mid = self.up16(torch.cat([mid, self.step16(fine)], 1))
        return [fine, mid, self.up32(torch.cat([at32, self.step32(mid)], 1))]


class Head(nn.Module):
    """Per level: a tower for the classes and one for the box."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.classes = nn.Sequential(separable(channels, channels), nn.Conv2d(channels, len(CLASSES), 1))
        self.box = nn.Sequential(
            separable(channels, channels), separable(channels, channels), nn.Conv2d(channels, 4 * BINS, 1)
        )
        nn.init.constant_(self.classes[-1].bias, -math.log(99))  # type: ignore[arg-type]
        start = -((torch.arange(BINS) + NEAREST - 2) ** 2) / 8  # boxes begin about four strides wide
        self.box[-1].bias.data.copy_(start.repeat(4))  # type: ignore[operator]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.classes(x), self.box(x)


class Detector(nn.Module):
    """The whole network."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS, neck: int = NECK) -> None:
        super().__init__()
        self.widths, self.neck_width = widths, neck
        self.backbone = Backbone(widths)
        self.neck = Neck(widths[2:], neck)
        self.heads = nn.ModuleList(Head(neck) for _ in STRIDES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images float32 [B, 3, H, W], 0 to 1, H and W multiples of 32.

        Returns boxes float32 [B, N, 4] (x1, y1, x2, y2 in input pixels), class logits [B, N, 5], and the logits of
        the edges' distributions [B, 4, BINS, N] that the boxes are the means of.
        """
        logits, boxes, edges = [], [], []
        bins = torch.arange(BINS, device=images.device, dtype=torch.float32)[:, None] + NEAREST
        for head, stride, feature in zip(self.heads, STRIDES, self.neck(self.backbone(images)), strict=True):
            classes, raw = head(feature)
            height, width = int(feature.shape[2]), int(feature.shape[3])
            centre, _ = grid(height, width, stride, images.device)
            raw = raw.float().reshape(-1, 4, BINS, height * width)
            reach = (raw.softmax(2) * bins).sum(2).transpose(1, 2) * stride
            boxes.append(torch.cat([centre - reach[..., :2], centre + reach[..., 2:]], 2))
            logits.append(classes.float().flatten(2).transpose(1, 2))
            edges.append(raw)
        return torch.cat(boxes, 1), torch.cat(logits, 1), torch.cat(edges, 3)


def grid(height: int, width: int, stride: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cell centres float32 [H * W, 2] in input pixels, and their stride [H * W]."""
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) * stride
    y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) * stride
    centre = torch.stack([x.repeat(height), y.repeat_interleave(width)], 1)
    return centre, torch.full((height * width,), float(stride), device=device)


def cells(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cell centres [N, 2] and strides [N] of all levels, for an input of height by width pixels."""
    levels = [grid(height // stride, width // stride, stride, device) for stride in STRIDES]
    return torch.cat([level[0] for level in levels]), torch.cat([level[1] for level in levels])
