"""Messages in protobuf's wire format, read field by field: https://protobuf.dev/programming-guides/encoding."""

from collections.abc import Iterator


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Each field's number and value: whole numbers, and the bytes of all else.

    Raises `ValueError` or `IndexError` where it is no message, or not a whole one.
    """
    place, end = 0, len(message)
    while place < end:
        tag, place = _varint(message, place)
        kind = tag & 7
        if kind == 0:
            value, place = _varint(message, place)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, place = _varint(message, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if place + length > end:
            raise ValueError("a field is longer than its message")
        yield tag >> 3, message[place : place + length]
        place += length


def whole_numbers(value: int | memoryview) -> list[int]:
    """A repeated whole number's field, packed or one by one."""
    if isinstance(value, int):
        return [value]
    found, place = [], 0
    while place < len(value):
        number, place = _varint(value, place)
        found.append(number)
    return found


def pair(message: memoryview) -> tuple[str, str]:
    """The key and the value of a message with a text in field 1 and another in field 2."""
    texts = {number: text(value) for number, value in fields(message) if isinstance(value, memoryview)}
    return texts.get(1, ""), texts.get(2, "")


def text(value: memoryview) -> str:
    """A text's field; raises `ValueError` where it is not UTF-8."""
    return bytes(value).decode()


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number of more than 64 bits")
