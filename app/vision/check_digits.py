"""Check characters that a code may have but need not: whether a code's text ends with a right one."""

from collections.abc import Callable
from typing import Literal

CheckedFormat = Literal["Code 39", "ITF", "Codabar"]

_CODE_39 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-. $/+%"
_CODABAR = "0123456789-$:/.+ABCD"


def is_right(kind: str, text: str) -> bool:
    """Whether the last character of `text` (as printed) checks those before it, for codes of a `CheckedFormat`."""
    return _CHECKS[kind](text)


def _code_39(text: str) -> bool:
    """ISO/IEC 16388, annex A: the sum of all values, modulo 43."""
    values = [_CODE_39.find(letter) for letter in text]
    return len(values) > 1 and min(values) >= 0 and sum(values[:-1]) % 43 == values[-1]


def _itf(text: str) -> bool:
    """ISO/IEC 16390, annex A: digits weigh 3 and 1 from the right, and their sum is a multiple of 10."""
    if len(text) < 2 or not (text.isascii() and text.isdecimal()):
        return False
    return sum(int(digit) * (1 if index % 2 == 0 else 3) for index, digit in enumerate(reversed(text))) % 10 == 0


def _codabar(text: str) -> bool:
    """EN 798, annex A: the values of all characters, start and stop included, sum up to a multiple of 16."""
    values = [_CODABAR.find(letter) for letter in text.upper()]
    return len(values) > 3 and min(values) >= 0 and sum(values) % 16 == 0


_CHECKS: dict[str, Callable[[str], bool]] = {"Code 39": _code_39, "ITF": _itf, "Codabar": _codabar}
