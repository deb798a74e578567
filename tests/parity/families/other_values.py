"""A person's re-identification by torchvision's network, and several labels by timm's head, each by its own code."""

from functools import partial

import timm
import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from tests.parity import weights
from tests.parity.families.base import samples
from tests.parity.families.values import Values, export_of, vectors
from tests.parity.pictures import opened

SIZE, CLASSES = (128, 256), 40
_LEVELS = Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def _reid() -> Values:
    """As torchreid/data/transforms.py prepares pictures for a test, around torchvision's network without classes."""
    torch.manual_seed(31)
    model = resnet18(weights=None)
    model.fc = nn.Identity()
    weights.settle(model, partial(model, (samples(SIZE, 8) - 0.45) / 0.225), calm=0.5)
    transform = Compose([Resize((SIZE[1], SIZE[0])), ToTensor(), _LEVELS])
    return Values(
        "reid", "embedding", export_of(model, SIZE, ["features"]), "--like reid",
        vectors(model, lambda data: transform(opened(data))[None]), "torchvision 0.29, torchreid's way documented",
    )  # fmt: skip


def _tags() -> Values:
    torch.manual_seed(32)
    model = timm.create_model("mobilenetv3_large_100", pretrained=False, num_classes=CLASSES)
    forward = partial(model, (samples((224, 224), 8) - 0.45) / 0.225)
    model.eval()
    weights.settle(model, forward, calm=0.5)
    weights.spread([model.get_classifier()], forward, 0.0, 2.0)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
    logits = vectors(model, lambda data: transform(opened(data))[None])
    options = "--like imagenet --set input.interpolation=cubic --set classification.multi_label=true"
    return Values(
        "timm-tags", "classification", export_of(model, (224, 224), ["logits"]), options,
        lambda data: torch.from_numpy(logits(data)).sigmoid().numpy(), "timm 1.0", CLASSES,
    )  # fmt: skip


def values() -> list[Values]:
    """Both."""
    return [_reid(), _tags()]
