"""A graph with a fixed batch dimension, rewritten to take any; needs onnx (the extra `tools`)."""

from pathlib import Path
from typing import Any

import numpy as np

from app.commands import probing
from app.commands.graphs import Conclusion
from app.engines.base import Array
from app.engines.library_errors import missing
from app.errors import InvalidManifest

try:
    import onnx
    from onnx import numpy_helper
except ImportError as error:
    raise missing("--dynamic-batch needs onnx, which", "tools", error) from error

SYMBOL = "batch"
TOLERANCE = 1e-4
"""How far rows of a batch may be from the same pictures by themselves, as a share of the largest value."""


def free(name: str, path: Path, section: Conclusion) -> None:
    """Rewrite the graph at `path`, the user's file `name`, and compare three pictures at once with each by itself in
    the graph as it was.

    Raises `InvalidManifest` where its batch is free already, or the answers differ.
    """
    before = probing.open_graph(path)
    size = before.input.batch_size
    if size is None:
        raise InvalidManifest(f"--dynamic-batch: {name} takes any batch already; leave it out.")
    pictures = probing.noise(section, 3)
    alone = [probing.answers(before, np.repeat(picture[None], size, axis=0)) for picture in pictures]
    before.close()
    rewrite(path)
    refusal = f"--dynamic-batch: {name} cannot be rewritten"
    cure = "leave it out: the graph is then called once a picture"
    try:
        together = _together(path, pictures)
    except InvalidManifest as error:
        raise InvalidManifest(f"{refusal}: its nodes depend on the batch of {size} ({error}); {cure}.") from error
    for output, rows in together.items():
        wanted = np.stack([answers[output][0] for answers in alone])
        if rows.shape != wanted.shape or np.abs(rows - wanted).max(initial=0) > TOLERANCE * np.abs(wanted).max(
            initial=1
        ):
            raise InvalidManifest(f"{refusal}: {output} of three pictures is not that of each by itself; {cure}.")


def _together(path: Path, pictures: Array) -> dict[str, Array]:
    engine = probing.open_graph(path)
    try:
        return probing.answers(engine, pictures)
    finally:
        engine.close()


def rewrite(path: Path) -> None:
    """Give inputs and outputs of the graph at `path` a dynamic batch, and every `Reshape` that repeats its size.

    Only shapes that are constants are rewritten, so the result must be checked by running it. Raises `InvalidManifest`
    where an input or output has no dimensions.
    """
    model = onnx.load(path, load_external_data=False)  # weights beside it stay there
    graph = model.graph
    size = graph.input[0].type.tensor_type.shape.dim[0].dim_value
    for value in (*graph.input, *graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if not dimensions:
            raise InvalidManifest(f"--dynamic-batch: {value.name} has no batch dimension; serve the graph as it is.")
        dimensions[0].dim_param = SYMBOL
    del graph.value_info[:]  # they repeat the old size, and the engine infers them again
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    for place, node in enumerate(graph.node):
        if node.op_type == "Reshape" and node.input[1] in constants:
            _free(graph, node, numpy_helper.to_array(constants[node.input[1]]).tolist(), size, f"_batch_{place}")
    onnx.save(model, path)


def _free(graph: Any, node: Any, shape: list[int], size: int, suffix: str) -> None:
    if not shape or shape[0] != size:
        return
    # -1 is what is left over; where another dimension is that already, 0 keeps the input's first.
    shape[0] = 0 if -1 in shape[1:] else -1
    # A constant of its own: another node may share the old one and mean something else.
    name = node.input[1] + suffix
    graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
    node.input[1] = name
