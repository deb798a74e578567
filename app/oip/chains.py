"""A chain over the protocol: pictures in, and of each the whole answer in JSON, as `/v1/predict` gives it.

Tensors have no places for answers within answers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic_core import to_json

from app.core.request import InferenceResult
from app.errors import InvalidRequest
from app.oip import datatypes, pictures
from app.oip.call import Call, InputTensor, OutputTensor
from app.repository.pipeline import ChainEntry
from app.wire.telling import to_wire

OUTPUT = "answers"
PLATFORM = "roo_vision_chain"


def metadata(chain: ChainEntry) -> dict[str, Any]:
    """Its one input and its one output, as the protocol tells them."""

    def tensor(name: str) -> dict[str, Any]:
        return {"name": name, "datatype": datatypes.BYTES, "shape": [-1], "parameters": {"way": "pictures"}}

    return {
        "name": chain.name,
        "versions": [chain.pipeline.version],
        "platform": PLATFORM,
        "inputs": [tensor(pictures.INPUT)],
        "outputs": [tensor(OUTPUT)],
    }


def configuration(chain: ChainEntry) -> dict[str, Any]:
    """Of Triton's model configuration what applies to a chain."""
    return {
        "name": chain.name,
        "platform": PLATFORM,
        "backend": "",
        "max_batch_size": 0,
        "input": [{"name": pictures.INPUT, "data_type": "TYPE_STRING", "dims": [-1], "optional": False}],
        "output": [{"name": OUTPUT, "data_type": "TYPE_STRING", "dims": [-1]}],
    }


def only_input(call: Call, chain: ChainEntry) -> InputTensor:
    """The pictures; raises `InvalidRequest` where the call is of another form than a chain takes."""
    if len(call.inputs) != 1 or call.inputs[0].name != pictures.INPUT or call.inputs[0].datatype != datatypes.BYTES:
        raise InvalidRequest(f"The chain {chain.name} takes one input, {pictures.INPUT} (BYTES, encoded pictures).")
    for output in call.outputs:
        if output.name != OUTPUT or output.class_count:
            raise InvalidRequest(f"The chain {chain.name} has one output, {OUTPUT}: each picture's answer in JSON.")
    return call.inputs[0]


def to_tensor(results: Sequence[InferenceResult]) -> OutputTensor:
    """The answers to several pictures, in their order."""
    rows = [np.array(to_json(to_wire(result)).decode(), object) for result in results]
    return OutputTensor(OUTPUT, datatypes.BYTES, (len(rows),), rows)
