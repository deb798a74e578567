"""Measures a model on held-out scenes and writes what the card states."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from rich.console import Console

from app.engines import catalog, devices
from app.engines.base import EngineName
from models.shelf.training.arrays import F32
from models.shelf.training.detect import Network, engine_network, onnx_network
from models.shelf.training.export import Deployed, fuse
from models.shelf.training.matching import best_threshold, confusion
from models.shelf.training.metrics import Legible, Pictures, average_precision, legible, predict, reading
from models.shelf.training.network import Detector
from models.shelf.training.plots import contact_sheet, plot_confusion, plot_precision
from models.shelf.training.reference import milliseconds

METRICS = ("mAP50", "mAP50-95")
FIRST = 12
"""Scenes that the tests draw and measure again."""


def torch_network(model: Detector) -> Network:
    """The unexported model as a network for `detect`."""
    deployed = Deployed(fuse(model)).eval()

    def run(images: F32) -> tuple[F32, F32]:
        with torch.no_grad():
            boxes, scores = deployed(torch.from_numpy(images))
        return boxes.numpy(), scores.numpy()

    return run


def threshold_on(model: Path, validation: Path) -> float:
    """The score threshold to serve with, from validation scenes."""
    pictures = Pictures(validation)
    return best_threshold(pictures.notes(), predict(onnx_network(model), pictures))


def evaluate(
    model: Path, annotations: Path, threshold: float, docs: Path | None, unexported: Detector | None, variants: int
) -> dict[str, Any]:
    """Everything the card states, as a JSON-ready dict.

    `variants` is how many of the pictures the comparisons use (torch against ONNX, batch 8, scaled decoding): each of
    them is a whole pass. Plots go to `docs`.
    """
    pictures, network = Pictures(annotations), onnx_network(model)
    found = predict(network, pictures)
    precision, curves = average_precision(pictures, found)
    table = confusion(pictures.notes(), found, threshold)
    known = legible(pictures)
    result = {
        "pictures": len(pictures),
        "threshold": threshold,
        "parameters": _parameters(model),
        "bytes": model.stat().st_size,
        **precision,
        "barcodes": reading(pictures, known, found, threshold),
        "confusion": table.tolist(),
        "first": confusion(Pictures(annotations, FIRST).notes(), found, threshold).tolist(),
        "variants": _variants(model, annotations, unexported, variants),
        "int8": quantized(model, pictures, precision, known, threshold),
        "milliseconds": milliseconds(model),
    }
    if docs is not None:
        docs.mkdir(parents=True, exist_ok=True)
        plot_precision(curves, docs / "precision-recall.png")
        plot_confusion(table, docs / "confusion.png")
        contact_sheet(pictures, found, threshold, docs / "predictions.jpg")
    Console().print_json(json.dumps(result))
    return result


def quantized(
    model: Path, pictures: Pictures, exact: dict[str, Any], known: Legible, threshold: float
) -> dict[str, Any]:
    """What the eight-bit file beside `model` finds in each engine, and reads; `exact` is fp32's metric."""
    path = model.with_name("model.int8.onnx")
    engines: list[EngineName] = ["onnx", "openvino"] if find_spec("openvino") is not None else ["onnx"]
    found = {engine: predict(engine_network(path, engine, "int8"), pictures) for engine in engines}
    measured = {"fp32": exact} | {engine: average_precision(pictures, each)[0] for engine, each in found.items()}
    return {
        "pictures": len(pictures),
        "bytes": path.stat().st_size,
        "barcodes": reading(pictures, known, found["onnx"], threshold),
    } | {name: {key: value[key] for key in METRICS} for name, value in measured.items()}


def _parameters(model: Path) -> int:
    """How many numbers the exported network holds, box grid and small constants left out."""
    weights = [item for item in onnx.load(model).graph.initializer if len(item.dims) in (1, 4)]
    return int(sum(np.prod(item.dims) for item in weights))


def _variants(model: Path, annotations: Path, unexported: Detector | None, count: int) -> dict[str, Any]:
    """The same metric on the first `count` pictures, computed in other ways."""
    pictures, network = Pictures(annotations, count), onnx_network(model)
    passes = {
        "onnx, batch 1": predict(network, pictures),
        "onnx, batch 8": predict(network, pictures, 8),
        "onnx, JPEG decoded whole": predict(network, pictures, whole=True),
    }
    if unexported is not None:
        torch.set_num_threads(1)
        passes["torch"] = predict(torch_network(unexported), pictures)
    for name, other in _openvino(model):
        passes[name] = predict(other, pictures)
    measured = {name: average_precision(pictures, found)[0] for name, found in passes.items()}
    return {name: {key: value[key] for key in METRICS} for name, value in measured.items()} | {
        "pictures": len(pictures)
    }


def _openvino(model: Path) -> Iterator[tuple[str, Network]]:
    """OpenVINO in each precision that this machine has, where it is installed."""
    if find_spec("openvino") is not None:
        able = catalog.precisions("openvino", devices.choose("cpu", None))
        for precision in (precision for precision in able if precision != "int8"):
            yield f"openvino, {precision}", engine_network(model, "openvino", precision)


def differences(result: dict[str, Any]) -> float:
    """The largest difference of either metric between the variants and plain ONNX at batch 1."""
    variants = {name: value for name, value in result["variants"].items() if name != "pictures"}
    plain = variants["onnx, batch 1"]
    return float(np.max([abs(value[key] - plain[key]) for value in variants.values() for key in plain]))
