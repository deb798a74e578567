"""torchvision's classifiers by their weights' own presets."""

import torch
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.transforms._presets import ImageClassification

from tests.parity.families.classifiers import Classifier, classifier, settled

SOURCE = "torchvision 0.29"


def classifiers() -> list[Classifier]:
    """One network behind the presets of older and of newer weights."""
    torch.manual_seed(6)
    network = resnet18(weights=None)
    settled(network, network.fc)
    older, newer = ResNet18_Weights.IMAGENET1K_V1.transforms(), ImageClassification(crop_size=224, resize_size=232)
    return [
        classifier("torchvision-256", "--like torchvision", network, older, SOURCE),
        classifier("torchvision-232", "--like torchvision --set input.resize_to=232", network, newer, SOURCE),
    ]
