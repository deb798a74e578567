"""GS1 data taken apart into application identifiers and their values (GS1 General Specifications, 3.2 and 7.8)."""

from typing import NamedTuple

SEPARATOR = "\x1d"

# Digits of an application identifier, by its first two.
_DIGITS = {
    **dict.fromkeys(
        ("00", "01", "02", "03", "10", "11", "12", "13", "15", "16", "17", "20", "21", "22", "30", "37"), 2
    ),
    **dict.fromkeys((str(number) for number in range(90, 100)), 2),
    **dict.fromkeys(("23", "24", "25", "40", "41", "42", "71"), 3),
    **dict.fromkeys(("31", "32", "33", "34", "35", "36", "39", "43", "70", "72", "80", "81", "82"), 4),
}
# Identifier and value together, where the length is fixed and no separator follows.
_LENGTHS = {
    **{"00": 20, "01": 16, "02": 16, "03": 16, "20": 4, "41": 16},
    **dict.fromkeys(("11", "12", "13", "15", "16", "17"), 8),
    **dict.fromkeys(("31", "32", "33", "34", "35", "36"), 10),
}


class Element(NamedTuple):
    """An application identifier, for example `01`, and its value."""

    ai: str
    value: str


def elements(data: str) -> tuple[Element, ...]:
    """The elements of GS1 data, in its order; none where it is not put together as GS1 asks for."""
    found, position = [], 0
    while position < len(data):
        start = data[position : position + 2]
        digits = _DIGITS.get(start)
        if digits is None:
            return ()
        end = data.find(SEPARATOR, position)
        end = len(data) if end < 0 else end
        if (length := _LENGTHS.get(start)) is not None:
            if position + length > end:
                return ()
            end = position + length
        ai, value = data[position : position + digits], data[position + digits : end]
        if not ai.isdecimal() or not value:
            return ()
        found.append(Element(ai, value))
        position = end + data.startswith(SEPARATOR, end)
    return tuple(found)
