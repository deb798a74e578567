"""What is served here, as the protocol tells it: the server, its models, their inputs and outputs."""

from typing import Any

import app as package
from app.core.model import Model
from app.core.registry import Registry
from app.oip import chains, pictures
from app.oip.datatypes import name_of
from app.oip.pictures import Described

NAME = "roo-vision"
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "parameters",
    "schedule_policy",
    "statistics",
)
"""Those of Triton's that are whole here; docs/protocol.md says what is there of the others."""

PICTURES, TENSORS = "pictures", "tensors"
"""The two ways to ask a model, as each input and output says in its parameter `way`."""

NOT_LOADED = "not loaded now; a request for an answer loads it"

_PLATFORMS = {"onnx": "onnxruntime_onnx", "tensorrt": "onnxruntime_onnx", "torch": "pytorch_libtorch"}


def server() -> dict[str, Any]:
    """The server itself."""
    return {"name": NAME, "version": package.__version__, "extensions": list(EXTENSIONS)}


def platform(model: Model) -> str:
    """The protocol's name of the engine and what it reads."""
    return _PLATFORMS.get(model.engine.name, f"{model.engine.name}_onnx")


def described(registry: Registry, name: str, version: str | None) -> dict[str, Any]:
    """The inputs and outputs of a model or a chain; raises what `Registry.get` raises."""
    if (chain := registry.chain(name, version)) is not None:
        return chains.metadata(chain)
    return model_metadata(registry, registry.get(name, version))


def configured(registry: Registry, name: str, version: str | None) -> dict[str, Any]:
    """The configuration of a model or a chain; raises what `Registry.get` raises."""
    if (chain := registry.chain(name, version)) is not None:
        return chains.configuration(chain)
    return configuration(registry.get(name, version))


def check(registry: Registry, name: str, version: str | None) -> None:
    """Raises what `Registry.get` raises where neither a model nor a chain of that name and version answers now."""
    if registry.chain(name, version) is None:
        registry.get(name, version)


def model_metadata(registry: Registry, model: Model) -> dict[str, Any]:
    """A model's inputs and outputs, for both ways to ask it; a side that is free is -1."""
    inputs, outputs = _tensors(model)
    if model.takes_pictures:
        known = pictures.described(model.task.name, len(model.task.labels))
        inputs = [_tensor(Described(pictures.INPUT, "BYTES", (-1,)), PICTURES), *inputs]
        outputs = [*(_tensor(each, PICTURES) for each in known), *outputs]
    return {
        "name": model.name,
        "versions": [each.version for each in registry.versions(model.name)],
        "platform": platform(model),
        "inputs": inputs,
        "outputs": outputs,
    }


def configuration(model: Model) -> dict[str, Any]:
    """Of Triton's model configuration what applies here: the graph's own tensors, without the batch dimension."""
    inputs, outputs = _tensors(model)
    return {
        "name": model.name,
        "platform": platform(model),
        "backend": model.engine.name,
        "max_batch_size": model.max_batch_size,
        "input": [{**_configured(each), "optional": False} for each in inputs],
        "output": [_configured(each) for each in outputs],
        "dynamic_batching": {"preferred_batch_size": [], "max_queue_delay_microseconds": 0},
    }


def repository_index(registry: Registry, *, ready: bool = False) -> list[dict[str, str]]:
    """Every loaded model and version, and every chain, with the reason where it answers from an older state than the
    repository's; and, unless only what is `ready` is wanted, the models that could not be loaded.
    """
    failures = registry.failures
    loaded = [
        {"name": model.name, "version": model.version, "state": "READY", "reason": failures.get(model.name, "")}
        for model in registry
    ]
    loaded += [
        {"name": name, "version": chain.pipeline.version, "state": "READY", "reason": failures.get(name, "")}
        for name, chain in registry.chains.items()
    ]
    if ready:
        return loaded
    away = registry.unserved
    reasons = {name: failures.get(name, "") for name in away} | dict.fromkeys(registry.away, NOT_LOADED)
    return loaded + [
        {"name": name, "version": "", "state": "UNAVAILABLE", "reason": why} for name, why in sorted(reasons.items())
    ]


def _tensors(model: Model) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    graph = model.engine
    own = Described(graph.input.name, name_of(graph.input.dtype), (-1, *model.row_shape))
    outputs = [
        Described(spec.name, name_of(spec.dtype), (-1, *(-1 if size is None else size for size in spec.shape)))
        for spec in model.output_rows
    ]
    return [_tensor(own, TENSORS)], [_tensor(each, TENSORS) for each in outputs]


def _tensor(tensor: Described, way: str) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape),
        "parameters": {"way": way},
    }


def _configured(tensor: dict[str, Any]) -> dict[str, Any]:
    kind = tensor["datatype"]
    data_type = "TYPE_STRING" if kind == "BYTES" else f"TYPE_{kind}"
    return {"name": tensor["name"], "data_type": data_type, "dims": tensor["shape"][1:]}
