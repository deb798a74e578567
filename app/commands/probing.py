"""What a graph answers to pictures, random ones above all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from app.commands.graphs import Conclusion
from app.commands.trial import Sample
from app.engines import catalog, devices
from app.engines.base import Array, Engine, EngineOptions
from app.engines.library_errors import first_line
from app.errors import InvalidManifest
from app.host.process import usable_cores
from app.vision import image, preprocessing
from app.vision.image import Size
from app.vision.preprocessing import InputSpec, Placement


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
    return first_row(engine, noise(section, engine.input.batch_size or 1), settled)


def first_row(engine: Engine, batch: Array, settled: Mapping[str, Any]) -> dict[str, Array]:
    """The first picture's outputs; raises `InvalidManifest` where the graph fails on the batch."""
    if not (settled.get("batching") or {}).get("batch_dimension", True):
        return answers(engine, batch[:1], batched=False)
    try:
        outputs = answers(engine, batch)
    except InvalidManifest as error:
        raise InvalidManifest(
            f"{error}. Where its outputs are those of a single picture, without a batch dimension: "
            "--set batching.batch_dimension=false."
        ) from error
    return {name: output[0] for name, output in outputs.items()}


def prepared(sample: Sample, spec: InputSpec, count: int) -> tuple[Array, Placement]:
    """A picture as the graph takes it, `count` times over, and where it lies; raises what decoding raises."""
    batch = np.zeros((count, *spec.shape), spec.numpy_dtype)
    target = preprocessing.decoding_target(sample.header.upright, spec)
    picture = image.decode(sample.data, sample.header, target, spec.range, spec.has_alpha)
    placement = preprocessing.prepare(picture, spec, batch[0])
    batch[1:] = batch[0]
    return batch, placement


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


def noise(section: Conclusion, count: int, seed: int = 0) -> Array:
    """Random pictures as the graph takes them, values of 0 to 1, or to 255 in bytes; each is another."""
    width, height = section.section["size"]
    channels = {"grey": 1, "rgba": 4}.get(section.section.get("channels", "rgb"), 3)
    shape = (count, channels, height, width)
    if section.section["layout"] == "nhwc":
        shape = (count, height, width, channels)
    random = np.random.default_rng(seed)
    if section.section["dtype"] == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    return random.random(shape, np.float32).astype(section.section["dtype"])
