"""What a graph answers to random pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from app.commands.graphs import Conclusion
from app.engines import catalog, devices
from app.engines.base import Array, Engine, EngineOptions
from app.engines.library_errors import first_line
from app.errors import InvalidManifest
from app.settings import usable_cores
from app.vision.image import Size
from app.vision.preprocessing import InputSpec


def open_graph(path: Path, settled: Mapping[str, Any] | None = None) -> Engine:
    """The graph on the CPU, its further inputs as the manifest's sections `settled` say.

    Raises `InvalidManifest` where it cannot be loaded.
    """
    section = dict((settled or {}).get("input") or {})
    spec = InputSpec(size=Size(*section.get("size", (1, 1))), constants=section.get("constants", {}))
    return open_with(path, {name: spec.constant(name) for name in spec.constants})


def open_with(path: Path, constants: Mapping[str, Array]) -> Engine:
    """The graph on the CPU with these values for its inputs beside the picture; raises as `open_graph` does."""
    options = EngineOptions(devices.choose("cpu", None), threads=usable_cores(), constants=constants)
    return catalog.open_engine("onnx", path, options)


def rows(engine: Engine, section: Conclusion, settled: Mapping[str, Any]) -> dict[str, Array]:
    """One random picture's outputs; raises `InvalidManifest` where the graph fails on it."""
    if (settled.get("batching") or {}).get("batch_dimension", True):
        try:
            outputs = answers(engine, noise(section, engine.input.batch_size or 1))
        except InvalidManifest as error:
            raise InvalidManifest(
                f"{error}. Where its outputs are those of a single picture, without a batch dimension: "
                "--set batching.batch_dimension=false."
            ) from error
        return {name: output[0] for name, output in outputs.items()}
    return answers(engine, noise(section, 1), batched=False)


def answers(engine: Engine, batch: Array, batched: bool = True) -> dict[str, Array]:
    """The outputs; raises `InvalidManifest` where the graph fails or, if `batched`, one has not a row a picture."""
    try:
        outputs = engine.run(batch)
    except Exception as error:  # the runtime raises many unrelated types, all meaning: not this batch
        raise InvalidManifest(
            f"the graph fails on pictures of shape {list(batch.shape)}: {first_line(error)[:200]}"
        ) from error
    short = [name for name, array in outputs.items() if array.ndim == 0 or len(array) != len(batch)]
    if batched and short:
        raise InvalidManifest(f"the output {short[0]} has not one row for each of {len(batch)} pictures")
    return outputs


def noise(section: Conclusion, count: int) -> Array:
    """Random pictures as the graph takes them, values of 0 to 1, or to 255 in bytes; each is another."""
    width, height = section.section["size"]
    channels = {"grey": 1, "rgba": 4}.get(section.section.get("channels", "rgb"), 3)
    shape = (count, channels, height, width)
    if section.section["layout"] == "nhwc":
        shape = (count, height, width, channels)
    random = np.random.default_rng(0)
    if section.section["dtype"] == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    return random.random(shape, np.float32).astype(section.section["dtype"])
