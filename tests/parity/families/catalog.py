"""Which families there are to compare with: all in the environment of `make test-parity`; elsewhere those whose code is
there.
"""

import importlib
import importlib.util
from collections.abc import Mapping
from types import ModuleType

from tests.parity.families.base import Family
from tests.parity.families.classifiers import Classifier
from tests.parity.pictures import REQUIRED

_PACKAGES = {
    "ultralytics_models": "ultralytics",
    "yolox": "yolox",
    "torchvision_detectors": "torchvision",
    "transformers_detr": "transformers",
    "rf_detr": "rfdetr",
    "documented": "torchvision",
    "raw_heads": "torchvision",
}
"""Modules beside this one, and what each needs."""
_CLASSIFIERS = {
    "torchvision_classifiers": "torchvision",
    "timm_classifiers": "timm",
    "ultralytics_classifier": "ultralytics",
}


def detectors() -> list[Family]:
    """In the order in which users need them."""
    return [family for module in _there(_PACKAGES) for family in module.families()]


def classifiers() -> list[Classifier]:
    """Those beside the detectors."""
    return [classifier for module in _there(_CLASSIFIERS) for classifier in module.classifiers()]


def _there(packages: Mapping[str, str]) -> list[ModuleType]:
    wanted = [module for module, package in packages.items() if REQUIRED or importlib.util.find_spec(package)]
    return [importlib.import_module(f"tests.parity.families.{module}") for module in wanted]
