"""Which families there are to compare with: all in the environment of `make test-parity`; elsewhere those whose code is
there.
"""

import importlib
import importlib.util
from collections.abc import Mapping
from types import ModuleType

from tests.parity.families.base import Family
from tests.parity.families.classifiers import Classifier
from tests.parity.families.values import Values
from tests.parity.pictures import REQUIRED

_PACKAGES = {
    "ultralytics_models": "ultralytics",
    "yolox": "yolox",
    "torchvision_detectors": "torchvision",
    "transformers_detr": "transformers",
    "rf_detr": "rfdetr",
    "effdet_models": "effdet",
    "rapid_layout_models": "rapid_layout",
    "documented": "torchvision",
    "raw_heads": "torchvision",
}
"""Modules beside this one, and what each needs."""
_CLASSIFIERS = {
    "torchvision_classifiers": "torchvision",
    "timm_classifiers": "timm",
    "ultralytics_classifier": "ultralytics",
}
_VALUES = {"transformers_values": "transformers", "other_values": "timm"}


def detectors() -> dict[str, list[Family]]:
    """By module, in the order in which users need them."""
    return {name: module.families() for name, module in _there(_PACKAGES)}


def classifiers() -> dict[str, list[Classifier]]:
    """Those beside the detectors, by module."""
    return {name: module.classifiers() for name, module in _there(_CLASSIFIERS)}


def values() -> dict[str, list[Values]]:
    """Embeddings, maps and several labels, by module."""
    return {name: module.values() for name, module in _there(_VALUES)}


def _there(packages: Mapping[str, str]) -> list[tuple[str, ModuleType]]:
    wanted = [module for module, package in packages.items() if REQUIRED or importlib.util.find_spec(package)]
    return [(module, importlib.import_module(f"tests.parity.families.{module}")) for module in wanted]
