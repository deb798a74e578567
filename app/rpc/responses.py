"""From an answer to the bytes of its message."""

from typing import Any

from app.core.admission import Permit
from app.oip.call import Answered, Call
from app.oip.datatypes import BYTES, elements_of, to_bytes
from app.rpc import raw_contents
from app.rpc.messages import message
from app.rpc.requests import CONTENTS, MOST_TYPED


def inference(call: Call, answered: Answered, permit: Permit, *, final: bool = False) -> bytes:
    """The bytes of a `ModelInferResponse`; written once, of the engine's own arrays, where its tensors are raw.

    Who sent typed contents is answered in them, as far as there are any for the datatype and they are not many.
    `final` says that it ends the answers to a message of a stream. Raises `Overloaded` where there is no room.
    """
    response = message("ModelInferResponse")(model_name=answered.model, model_version=answered.version, id=answered.id)
    if final:
        response.parameters["triton_final_response"].bool_param = True
    raw = call.binary or not all(_writable(output.datatype, output.shape) for output in answered.outputs)
    tensors = []
    for output in answered.outputs:
        described = response.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        if raw:
            pieces = list(to_bytes(output.rows))
            permit.take_bytes(sum(map(len, pieces)))
            tensors.append(pieces)
            continue
        elements: list[Any] = elements_of(output.rows)
        if output.datatype == BYTES:
            elements = [each if isinstance(each, bytes) else str(each).encode() for each in elements]
        getattr(described.contents, CONTENTS[output.datatype]).extend(elements)
    return raw_contents.join(response.SerializeToString(), tensors)


def _writable(datatype: str, shape: tuple[int, ...]) -> bool:
    count = 1
    for side in shape:
        count *= side
    return datatype in CONTENTS and count <= MOST_TYPED
