"""What zxing-cpp reads, as barcodes that say what is printed and what is encoded."""

from base64 import b64encode
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Literal, get_args

import zxingcpp

from app.vision import check_digits, gs1
from app.vision.check_digits import CheckedFormat
from app.vision.gs1 import Element

Format = Literal[
    "Aztec",
    "Codabar",
    "Code 39",
    "Code 39 Extended",
    "Code 93",
    "Code 128",
    "DX Film Edge",
    "Data Matrix",
    "DataBar",
    "EAN-8",
    "EAN-13",
    "ITF",
    "MaxiCode",
    "MicroPDF417",
    "Micro QR Code",
    "PDF417",
    "QR Code",
    "rMQR Code",
    "Telepen",
    "UPC-A",
    "UPC-E",
]
_BY_NAME_ONLY = {"Code 39 Extended", "DX Film Edge", "Telepen"}
"""Formats that are rare on goods: they cost time, or change what a more common one says."""
_OF_MODULES: set[str] = {"Aztec", "Data Matrix", "MaxiCode", "Micro QR Code", "QR Code"}
_OF_BOTH: set[str] = {"MicroPDF417", "PDF417", "rMQR Code"}
"""Rows of bars or modules, so low where there are few of them that only the way along them meets many edges."""
_ANGLED: set[str] = {"Aztec", "Data Matrix"}
"""Those of them that are read at right angles only where that is asked for."""
_RETAIL = {"EAN-8", "EAN-13", "UPC-A", "UPC-E"}
# Code 39 stands for itself: what zxing-cpp calls so is also read as "extended", where it can be.
_ZXING = {"Code 39": "Code 39 Standard"}


class Family(Enum):
    """Formats that are sought together: either kind takes about half of the time, and a crop rarely looks like both."""

    BARS = "bars"
    MODULES = "modules"
    ANGLED = "angled"
    EVERYTHING = "everything"


Formats = dict[Family, zxingcpp.BarcodeFormats | None]
"""The formats to seek of each family; None where there are none of it."""


@dataclass(frozen=True, slots=True)
class Barcode:
    """What a code says.

    `text` is its data: as printed for one-dimensional codes, with GS1's separators (0x1D) and nothing added. `format`
    is its kind, for example `Code 128`; `symbology` the identifier of ISO/IEC 15424 that a scanner would send before
    the data, for example `]C1`. `gs1` has the elements of GS1 data, none where they cannot be told apart, and is None
    where the code does not claim to be GS1. `data` has the bytes where they are not `text` in UTF-8.
    """

    text: str
    format: str
    symbology: str = ""
    gs1: tuple[Element, ...] | None = None
    data: bytes | None = None

    @property
    def base64(self) -> str | None:
        """`data` in base64."""
        return None if self.data is None else b64encode(self.data).decode()


@dataclass(frozen=True, slots=True)
class Reading:
    """Which codes are read: of these formats (where there are none, of all that are not rare), and of `checked` ones
    only those that end with a right check digit.
    """

    formats: tuple[Format, ...] = ()
    checked: tuple[CheckedFormat, ...] = ()

    def wanted(self) -> Formats:
        """The formats as `zxingcpp.read_barcodes` takes them; made anew each time, since zxing-cpp complains
        on standard error about what is still kept of it when the process ends.
        """
        texts = _wanted(self.formats)
        return {family: zxingcpp.barcode_formats_from_str(text) if text else None for family, text in texts.items()}

    def barcode(self, found: zxingcpp.Barcode) -> Barcode | None:
        """What was found, or None where its check digit is wrong."""
        text, kind = _as_printed(found, upc="UPC-A" in self.formats or "EAN-13" not in self.formats)
        if kind in self.checked and not check_digits.is_right(kind, text):
            return None
        data = None if found.bytes == found.text.encode("utf-8", "surrogatepass") else found.bytes
        is_gs1 = found.content_type == zxingcpp.ContentType.GS1
        elements = gs1.elements(found.text) if is_gs1 else None
        return Barcode(text, kind, found.symbology_identifier, elements, data)


def _as_printed(found: zxingcpp.Barcode, upc: bool) -> tuple[str, str]:
    """Text and format. For zxing-cpp every retail code is an EAN-13, filled up with zeros."""
    text, kind = found.text, str(found.format)
    if kind == "UPC-E":
        extra: Any = found.extra
        return str(extra["UPCE"]), kind
    if kind in ("EAN-13", "UPC-A") and len(text) == 13 and text[0] == "0" and upc:
        return text[1:], "UPC-A"
    return text, kind


@lru_cache(maxsize=64)
def _wanted(formats: tuple[Format, ...]) -> dict[Family, str]:
    names: set[str] = set(formats) or set(get_args(Format)) - _BY_NAME_ONLY
    modules = names & (_OF_MODULES | _OF_BOTH)
    families = {Family.BARS: names - _OF_MODULES, Family.MODULES: modules, Family.EVERYTHING: names}
    families[Family.ANGLED] = names & _ANGLED
    return {family: _listed(members) for family, members in families.items()}


def _listed(names: set[str]) -> str:
    if names >= _RETAIL:  # sought together they take a tenth less time than one by one
        names = names - _RETAIL | {"EAN/UPC"}
    return ",".join(_ZXING.get(name, name) for name in sorted(names))
