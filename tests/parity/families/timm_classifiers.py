"""timm's classifiers by timm's own transforms."""

import timm
import torch

from tests.parity.families.classifiers import Classifier, classifier, settled


def _timm(name: str, options: str) -> Classifier:
    torch.manual_seed(11)
    model = timm.create_model(name, pretrained=False)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
    return classifier(f"timm-{name}", options, settled(model, model.get_classifier()), transform, "timm 1.0")


def classifiers() -> list[Classifier]:
    """A vision transformer's crop and levels, bicubic."""
    half = "--set input.mean=0.5 --set input.std=0.5"
    return [
        _timm("vit_tiny_patch16_224",
              f"--like imagenet --set input.interpolation=cubic --set input.resize_to=248 {half}"),
    ]  # fmt: skip
