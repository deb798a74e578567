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
    """A convolutional network's crop and levels and a vision transformer's, both bicubic."""
    cubic = "--like imagenet --set input.interpolation=cubic"
    return [
        _timm("mobilenetv3_large_100", cubic),
        _timm("vit_tiny_patch16_224",
              f"{cubic} --set input.resize_to=248 --set input.mean=0.5 --set input.std=0.5"),
    ]  # fmt: skip
