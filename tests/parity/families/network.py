"""A small network of four strides, for formats whose families' code is not installed here."""

from functools import cache, partial

import torch
from torch import nn

from tests.parity import weights
from tests.parity.families.base import samples

SIZE, CLASSES = 320, 12
STRIDES = (8, 16, 32, 64)

Levels = tuple[float, float]
"""What is subtracted from values of 0 to 1, and by what they are divided then."""

PLAIN, SIGNED, IMAGENET = (0.0, 1.0), (0.5, 0.5), (0.45, 0.225)


def _step(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.SiLU())


class Network(nn.Module):
    """Pictures [n, 3, height, width] to `channels` numbers for each cell of four grids: [n, cells, channels]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_step(3, 16), _step(16, 24), _step(24, 32))
        self.steps = nn.ModuleList([_step(32, 48), _step(48, 64), _step(64, 64)])
        self.heads = nn.ModuleList([nn.Conv2d(width, channels, 1) for width in (32, 48, 64, 64)])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = [self.stem(images)]
        for step in self.steps:
            features.append(step(features[-1]))
        maps = [head(feature) for head, feature in zip(self.heads, features, strict=True)]
        return torch.cat([one.flatten(2) for one in maps], 2).transpose(1, 2)


@cache
def network(others: int, levels: Levels) -> Network:
    """One with random weights: the logits of `CLASSES` classes come behind `others` numbers of mean 0.3 and deviation
    0.4. Its pictures have these levels.
    """
    channels = others + CLASSES
    torch.manual_seed(channels)
    built = Network(channels).eval()
    mean, deviation = levels
    pictures = (samples((SIZE, SIZE)) - mean) / deviation
    forward = partial(built, pictures)
    weights.settle(built, forward)
    weights.spread(built.heads, forward, 0.0, 1.0)
    with torch.no_grad():
        for head in built.heads:
            for part, width, middle in ((slice(0, others), 0.4, 0.3), (slice(others, None), 1.2, -4.0)):
                head.weight[part] *= width
                head.bias[part] = head.bias[part] * width + middle
    return built


def cells() -> tuple[torch.Tensor, torch.Tensor]:
    """Column and line of each cell [cells, 2], and its stride [cells, 1]."""
    places, strides = [], []
    for stride in STRIDES:
        side = SIZE // stride
        lines, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        places.append(torch.stack((columns, lines), -1).reshape(-1, 2).float())
        strides.append(torch.full((side * side, 1), float(stride)))
    return torch.cat(places), torch.cat(strides)


class Boxes(nn.Module):
    """The network's numbers as centres and sizes [n, cells, 4] in pixels and scores [n, cells, CLASSES]."""

    def __init__(self, built: Network) -> None:
        super().__init__()
        self.built = built
        places, strides = cells()
        self.register_buffer("places", places)
        self.register_buffer("strides", strides)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        raw = self.built(images)
        middle = (raw[..., :2] + self.places) * self.strides
        sides = torch.exp(raw[..., 2:4] + 0.8) * self.strides
        return torch.cat((middle, sides), -1), raw[..., -CLASSES:].sigmoid()
