"""The protocol's datatypes, and tensors as bytes: little-endian, row after row; BYTES with each element's length first.

Source: KServe's "Open Inference Protocol V2", sections "Tensor Data Types" and "Tensor Contents"
(https://github.com/kserve/open-inference-protocol), and Triton's binary tensor extension.
"""

import math
import struct
from binascii import a2b_base64
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.engines.base import Array
from app.errors import InvalidRequest

BYTES = "BYTES"
NUMPY: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""All but BYTES, whose elements have no fixed size, and BF16, which no engine here takes or gives."""
_NAMES: dict[np.dtype[Any], str] = {dtype: name for name, dtype in NUMPY.items()} | {np.dtype(object): BYTES}

MOST_DIMENSIONS = 32
MOST_ELEMENTS = 2**40
"""Far more than fit into a request; sides beside a side of 0 count as well, because arrays cannot have just any."""
LENGTH = struct.Struct("<I")


def name_of(dtype: np.dtype[Any]) -> str:
    """The protocol's name of what an engine calls so."""
    return _NAMES[dtype]


def check_datatype(datatype: str) -> None:
    """Raises `InvalidRequest` for what is no datatype, or none that is served."""
    if datatype == "BF16":
        raise InvalidRequest("BF16 is not taken: no engine here has inputs of it. Send FP32, as the metadata says.")
    if datatype not in NUMPY and datatype != BYTES:
        raise InvalidRequest(f"There is no datatype {datatype[:50]!r}. There are {', '.join(NUMPY)} and {BYTES}.")


def count_of(shape: Sequence[int], name: str) -> int:
    """How many elements a tensor has; raises `InvalidRequest` for what is no shape."""
    if any(size < 0 for size in shape):
        raise InvalidRequest(f"The shape {list(shape)[:8]} of {name} has a negative side; only metadata has those.")
    if len(shape) > MOST_DIMENSIONS:
        raise InvalidRequest(f"The shape of {name} has {len(shape)} sides; at most {MOST_DIMENSIONS} are taken.")
    if math.prod(max(1, size) for size in shape) > MOST_ELEMENTS:
        raise InvalidRequest(f"The shape {list(shape)[:8]} of {name} has more elements than any request can hold.")
    return math.prod(shape)


def from_bytes(name: str, datatype: str, shape: Sequence[int], data: memoryview) -> Array:
    """The tensor that these bytes are; of numbers a view of them, nothing is copied.

    BYTES become an array of `bytes` objects. Raises `InvalidRequest` where the bytes are not as many as the shape says.
    """
    check_datatype(datatype)
    count = count_of(shape, name)
    if datatype == BYTES:
        return objects(list(_elements(name, data, count)), shape)
    dtype = NUMPY[datatype]
    if len(data) != count * dtype.itemsize:
        raise InvalidRequest(
            f"The tensor {name} of shape {list(shape)} and type {datatype} takes {count * dtype.itemsize} bytes; "
            f"{len(data)} were sent for it."
        )
    if datatype == "BOOL" and count and int(np.frombuffer(data, np.uint8).max()) > 1:
        raise InvalidRequest(f"The tensor {name} of type BOOL holds bytes other than 0 and 1.")
    return np.frombuffer(data, dtype).reshape(shape)


def objects(elements: Sequence[object], shape: Sequence[int]) -> Array:
    """An array of objects, one an element, whatever they are."""
    array = np.empty(len(elements), object)
    array[:] = elements
    return array.reshape(shape)


def from_base64(name: str, tensor: NDArray[Any]) -> Array:
    """The `bytes` that a tensor of `bytes` or `str` spells in base64; raises `InvalidRequest` where it is none."""
    try:
        return objects([a2b_base64(element, strict_mode=True) for element in tensor.reshape(-1)], tensor.shape)
    except ValueError as error:
        raise InvalidRequest(f"The data of {name} is not base64: {error}.") from None


def to_bytes(rows: Iterable[Array]) -> Iterator[memoryview | bytes]:
    """What the bytes of a tensor are joined of: its rows themselves; of objects (`bytes` or `str`) new bytes."""
    for row in rows:
        if row.dtype != object:
            yield np.ascontiguousarray(row).reshape(-1).view(np.uint8).data
            continue
        for element in row.reshape(-1):
            encoded = element if isinstance(element, bytes) else str(element).encode()
            yield LENGTH.pack(len(encoded))
            yield encoded


def elements_of(rows: Iterable[Array]) -> list[Any]:
    """A tensor's elements, flat, as Python's own objects."""
    return list(chain.from_iterable(row.reshape(-1).tolist() for row in rows))


def as_text(tensor: NDArray[Any], name: str) -> Array:
    """Elements of BYTES as the engines take them, which know only text; raises `InvalidRequest` for other bytes."""
    try:
        return objects([element.decode() for element in tensor.reshape(-1)], tensor.shape)
    except UnicodeDecodeError:
        raise InvalidRequest(
            f"The tensor {name} holds bytes that are not UTF-8, which is all the model takes."
        ) from None


def _elements(name: str, data: memoryview, count: int) -> Iterator[bytes]:
    if count * LENGTH.size > len(data):
        raise InvalidRequest(f"The tensor {name} has {count} elements of BYTES; {len(data)} bytes cannot hold them.")
    at = 0
    for number in range(count):
        if at + LENGTH.size > len(data):
            raise InvalidRequest(f"The tensor {name} ends before the length of its element {number}.")
        (size,) = LENGTH.unpack_from(data, at)
        at += LENGTH.size
        if size > len(data) - at:
            raise InvalidRequest(
                f"Element {number} of the tensor {name} says that it has {size} bytes; only {len(data) - at} are left."
            )
        yield bytes(data[at : at + size])
        at += size
    if at != len(data):
        raise InvalidRequest(f"The tensor {name} has {count} elements of BYTES, and {len(data) - at} bytes after them.")
