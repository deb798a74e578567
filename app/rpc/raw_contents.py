"""Raw tensors of the protocol's messages, without a copy: cut out of a request's bytes, and put behind a response's.

Protobuf would copy each once when it reads a message, once more when the field is asked for, and again when it writes
one. Source of the form: "Encoding", https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterable, Iterator, Sequence

from app.errors import InvalidRequest

_RAW_INPUT_CONTENTS, _RAW_OUTPUT_CONTENTS = 7, 6
_LENGTH = 2
"""The kind of a field that says how long it is; 0 is a number, 1 and 5 have 8 and 4 bytes."""
MOST_FIELDS = 1000
"""Of a message, at its top: inputs, outputs, parameters and tensors; each is a step of the event loop's."""


def split(message: bytes) -> tuple[bytes, list[memoryview]]:
    """A `ModelInferRequest` without its raw contents, and these; raises `InvalidRequest` for what is no message."""
    view = memoryview(message)
    kept: list[memoryview] = []
    raw: list[memoryview] = []
    mark = 0
    for begin, content, end, key in _fields(view):
        if key == _RAW_INPUT_CONTENTS << 3 | _LENGTH:
            kept.append(view[mark:begin])
            raw.append(view[content:end])
            mark = end
    return b"".join([*kept, view[mark:]]), raw


def join(response: bytes, tensors: Iterable[Sequence[memoryview | bytes]]) -> bytes:
    """A `ModelInferResponse` with the tensors as its raw contents, each in the pieces that it is made of."""
    parts: list[memoryview | bytes] = [response]
    for pieces in tensors:
        parts.append(bytes([_RAW_OUTPUT_CONTENTS << 3 | _LENGTH]) + _varint(sum(map(len, pieces))))
        parts += pieces
    return b"".join(parts)


def embed(response: bytes) -> bytes:
    """A `ModelStreamInferResponse` around a whole `ModelInferResponse`."""
    return bytes([2 << 3 | _LENGTH]) + _varint(len(response)) + response


def _fields(view: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Each field: where it begins, where its content does, where it ends, and its key."""
    at, count = 0, 0
    while at < len(view):
        begin = at
        key, at = _read_varint(view, at)
        content, end = at, at
        match key & 7:
            case 0:
                _, end = _read_varint(view, at)
            case 1:
                end = at + 8
            case 2:
                size, content = _read_varint(view, at)
                end = content + size
            case 5:
                end = at + 4
            case _:
                raise _damaged()
        count += 1
        if end > len(view):
            raise _damaged()
        if count > MOST_FIELDS:
            raise InvalidRequest(f"The message has more than {MOST_FIELDS} fields.")
        yield begin, content, end, key
        at = end


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(view) and shift < 64:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _damaged()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _damaged() -> InvalidRequest:
    return InvalidRequest("The message is no ModelInferRequest: it ends inside of a field, or has one of unknown kind.")
