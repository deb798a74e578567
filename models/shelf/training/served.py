"""Weights of a served version as a start of training: out of its ONNX file, whatever trained it.

An exported network has its batch normalisations folded into the convolutions. They are taken apart again by measuring
what each convolution gives on a few batches: evaluation is the same as before, and training begins where it ended.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from app.repository.manifest import FILE_NAME
from app.repository.repository import read_entry
from models.shelf.training.coco import DataRefused
from models.shelf.training.network import Detector, Unit

_PREFIX = "detector."


def load_weights(model: Detector, place: Path, batches: Iterable[Tensor]) -> None:
    """Loads `place` into `model`: a checkpoint, an ONNX file, or a model's folder (its newest version).

    `batches` are images float32 [B, 3, H, W] like those that training is going to see; at most eight are taken.
    Raises `DataRefused` where the weights are of another network.
    """
    if place.is_dir():
        place = _newest(place)
    try:
        if place.suffix == ".onnx":
            _load_folded(model, place, batches)
        else:
            model.load_state_dict(torch.load(place, weights_only=True)["average"])
    except (RuntimeError, KeyError) as error:
        raise DataRefused(f"{place} has not the weights of this network: {str(error)[:300]}") from None


def _newest(folder: Path) -> Path:
    if not (folder / FILE_NAME).is_file():
        raise DataRefused(f"{folder} is no model: it has no {FILE_NAME}.")
    version = max(read_entry(folder).versions, key=int)
    return folder / version / "model.onnx"


def _load_folded(model: Detector, path: Path, batches: Iterable[Tensor]) -> None:
    """Sets the weights from an exported network and measures the batch normalisations."""
    folded = {
        item.name.removeprefix(_PREFIX): torch.from_numpy(np.array(numpy_helper.to_array(item)))
        for item in onnx.load(path).graph.initializer
        if item.name.startswith(_PREFIX)
    }
    state = model.state_dict()
    units = {name: unit for name, unit in model.named_modules() if isinstance(unit, Unit)}
    for name, unit in units.items():
        state[f"{name}.0.weight"] = folded.pop(f"{name}.0.weight")
        state[f"{name}.1.bias"] = folded.pop(f"{name}.0.bias")
        state[f"{name}.1.running_mean"] = torch.zeros_like(unit[1].running_mean)  # type: ignore[arg-type]
        state[f"{name}.1.running_var"] = torch.ones_like(unit[1].running_var)  # type: ignore[arg-type]
        state[f"{name}.1.weight"] = torch.full_like(state[f"{name}.1.bias"], (1 + unit[1].eps) ** 0.5)  # type: ignore[operator]
    model.load_state_dict({**state, **folded})
    _measure(model, list(units.values()), batches)


@torch.no_grad()
def _measure(model: Detector, units: list[Unit], batches: Iterable[Tensor]) -> None:
    sums = {unit: [torch.zeros(2, unit[0].out_channels), 0] for unit in units}  # type: ignore[arg-type]

    def seen(unit: Unit):  # type: ignore[no-untyped-def]
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            rows = output.float().transpose(0, 1).flatten(1)
            sums[unit][0] += torch.stack([rows.mean(1), (rows**2).mean(1)])
            sums[unit][1] += 1

        return hook

    hooks = [unit[0].register_forward_hook(seen(unit)) for unit in units]
    model.eval()
    for _, images in zip(range(8), batches, strict=False):
        model(images)
    for hook in hooks:
        hook.remove()
    for unit, (total, count) in sums.items():
        mean, square = total / count
        variance = (square - mean**2).clamp(min=1e-6)
        norm = unit[1]
        norm.running_mean.copy_(mean)  # type: ignore[union-attr,operator]
        norm.running_var.copy_(variance)  # type: ignore[union-attr,operator]
        norm.weight.copy_((variance + norm.eps).sqrt())  # type: ignore[operator]
        norm.bias.add_(mean)  # type: ignore[operator]
