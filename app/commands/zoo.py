"""torchvision's models by name, with weights from a file or from torchvision's own collection.

Weights are loaded as data (`weights_only`): a file that would run code is refused.
"""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.error import URLError
from urllib.parse import urlsplit

from app.commands.torch_extra import torch, torchvision
from app.engines.library_errors import first_line
from app.errors import StartupError

Kind = Literal["classification", "detection", "segmentation"]

_KINDS: dict[str, Kind] = {"models": "classification", "detection": "detection", "segmentation": "segmentation"}
_OTHER = {"quantization": "quantized", "video": "video", "optical_flow": "optical flow"}
_TRANSFORMING = ("googlenet", "inception_v3")
_NESTED = ("model", "state_dict", "model_state_dict")


@dataclass(frozen=True, slots=True)
class ZooModel:
    """A torchvision model with its weights, in evaluation mode.

    `transforms` is the preset that the weights were evaluated with, `classes` how many classes it was built for
    (detectors: the background included), `categories` their names, or None where nobody knows them; `origin` says in
    words where the weights are from.
    """

    name: str
    kind: Kind
    module: Any
    transforms: Any
    classes: int
    categories: tuple[str, ...] | None
    origin: str


def open_model(name: str, weights: str) -> ZooModel:
    """Build the model `name`; `weights` is a file, the name of torchvision's weights, or DEFAULT.

    Raises `StartupError` where there is no such model, its kind is not served, or the weights cannot be had or are not
    this model's.
    """
    kind = _kind(name)
    members = torchvision.models.get_model_weights(name)
    path = Path(weights)
    if path.is_file():
        state, known = _read(path), _recognise(path, members)
    elif weights in members.__members__:
        known = members[weights]
        state = _download(known)
    else:
        names = ", ".join(dict.fromkeys(("DEFAULT", *members.__members__)))
        raise StartupError(f"--weights {weights}: is no file, and {name} has no weights of that name (only {names}).")
    module, classes = _build(name, state, path.name if path.is_file() else weights)
    preset = members.DEFAULT if known is None else known
    categories = tuple(map(str, preset.meta["categories"]))
    return ZooModel(
        name=name,
        kind=kind,
        module=module,
        transforms=preset.transforms(),
        classes=classes,
        categories=categories if len(categories) == classes else None,
        origin=f"torchvision's {name}, weights {known.name if known is not None else path.name}",
    )


def _kind(name: str) -> Kind:
    if name not in torchvision.models.list_models():
        raise StartupError(f"torchvision {torchvision.__version__} has no model {name!r}.{_similar(name)}")
    room = torchvision.models.get_model_builder(name).__module__.split(".")[2:-1] or ["models"]
    kind = _KINDS.get(room[0])
    if kind is None:
        raise StartupError(
            f"torchvision:{name} is a model of the kind {_OTHER.get(room[0], room[0])}, which is not served; "
            "classifiers, detectors and segmentation models are."
        )
    return kind


def _similar(name: str) -> str:
    beginning = re.split(r"[\d_]", name)[0]
    near = [known for known in torchvision.models.list_models() if beginning and known.startswith(beginning)]
    return f" It has {', '.join(near[:12])}." if near else " Its documentation lists them."


def _recognise(path: Path, members: Any) -> Any | None:
    """torchvision's own weights by the name under which they are downloaded: their presets can differ."""
    return next((member for member in members if Path(urlsplit(member.url).path).name == path.name), None)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise StartupError(
            f"--weights {path}: is no file of weights that can be read as data: {_plain(error)} "
            "Write it with torch.save(model.state_dict(), FILE)."
        ) from error
    for key in _NESTED:  # how training scripts, torchvision's among them, save a checkpoint
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise StartupError(
            f"--weights {path}: holds no state dict. Write it with torch.save(model.state_dict(), FILE)."
        )
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _download(weights: Any) -> dict[str, Any]:
    try:
        state: dict[str, Any] = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (URLError, OSError, RuntimeError) as error:
        raise StartupError(
            f"The weights {weights} cannot be downloaded from {weights.url}: {first_line(error)}. "
            "Fetch that file where there is a network, and give it as --weights FILE."
        ) from error
    return state


def _build(name: str, state: dict[str, Any], weights: str) -> tuple[Any, int]:
    """The model with `state` in it, and its number of classes: torchvision's, or as many as the weights have."""
    classes = len(torchvision.models.get_model_weights(name).DEFAULT.meta["categories"])
    module = _empty(name, classes, state)
    shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    wrong = [key for key in shapes if key in state and tuple(state[key].shape) != shapes[key]]
    missing, foreign = sorted(shapes.keys() - state.keys()), sorted(state.keys() - shapes.keys())
    numbers = {_classes_by(tuple(state[key].shape), shapes[key], classes) for key in wrong}
    if len(numbers) == 1 and (found := numbers.pop()) and not missing and not foreign:
        classes = found
        module = _empty(name, classes, state)
        shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
        wrong = [key for key in shapes if tuple(state[key].shape) != shapes[key]]
    if missing or foreign or wrong:
        raise StartupError(f"--weights {weights}: are not {name}'s: {_differences(missing, foreign, wrong)}.")
    module.load_state_dict(state)
    return module.eval(), classes


def _classes_by(shape: tuple[int, ...], usual: tuple[int, ...], classes: int) -> int | None:
    """The number of classes of a last layer of this shape, which for `classes` has the `usual` one, or None.

    A model trained for other classes differs there only, in its length: a multiple of the number of classes.
    """
    if shape[1:] != usual[1:] or not shape or not usual or shape[0] * classes % usual[0]:
        return None
    return shape[0] * classes // usual[0]


def _empty(name: str, classes: int, state: dict[str, Any]) -> Any:
    """The architecture alone. Nothing is downloaded for it, its backbone neither."""
    options: dict[str, Any] = {"weights": None, "num_classes": classes}
    kind = _kind(name)
    if kind != "classification":
        options["weights_backbone"] = None
    if kind == "segmentation" and not name.startswith("lraspp"):
        options["aux_loss"] = any(key.startswith("aux_classifier") for key in state)
    if name in _TRANSFORMING:
        # torchvision's weights of these two expect another normalisation, which the model then does itself.
        auxiliary = any(key.lower().startswith("aux") for key in state)
        options |= {"transform_input": True, "init_weights": False, "aux_logits": auxiliary}
    return torchvision.models.get_model(name, **options)


def _differences(missing: list[str], foreign: list[str], wrong: list[str]) -> str:
    parts = (("are missing", missing), ("are not known to it", foreign), ("have other shapes", wrong))
    return "; ".join(f"{len(keys)} tensors {words} (the first: {keys[0]})" for words, keys in parts if keys)


def _plain(error: BaseException) -> str:
    """torch's advice to switch the protection off is left out."""
    return "it holds more than tensors." if isinstance(error, pickle.UnpicklingError) else f"{first_line(error)}."
