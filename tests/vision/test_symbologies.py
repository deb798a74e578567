"""A code's text is its data, as it is printed or encoded, and what kind of data it is can be told."""

from typing import Any

import cv2
import numpy as np
import pytest
import zxingcpp
from hypothesis import given
from hypothesis import strategies as st

from app.vision import check_digits, gs1
from app.vision.gs1 import Element
from app.vision.symbologies import Barcode, Family, Reading

EVERYTHING = Reading()
GS1 = "(01)09501101530003(10)12AB(21)XYZ"
GS1_DATA = "01095011015300031012AB\x1d21XYZ"
ELEMENTS = (("01", "09501101530003"), ("10", "12AB"), ("21", "XYZ"))


def read(content: str | bytes, kind: str, reading: Reading = EVERYTHING, **options: Any) -> Barcode | None:
    written = zxingcpp.create_barcode(content, getattr(zxingcpp.BarcodeFormat, kind), **options)
    bars = cv2.copyMakeBorder(np.asarray(written.to_image(scale=3)), *[30] * 4, cv2.BORDER_CONSTANT, value=255)
    found = zxingcpp.read_barcodes(bars, formats=reading.wanted()[Family.EVERYTHING], text_mode=zxingcpp.TextMode.Plain)
    assert len(found) <= 1
    return reading.barcode(found[0]) if found else None


@pytest.mark.parametrize(
    ("kind", "symbology"), [("Code128", "]C1"), ("QRCode", "]Q3"), ("DataMatrix", "]d2"), ("Aztec", "]z1")]
)
def test_gs1_is_told_from_the_same_characters(kind: str, symbology: str) -> None:
    found, literal = read(GS1, kind, gs1=True), read(GS1, kind)
    assert found is not None
    assert (found.text, found.symbology, found.gs1) == (GS1_DATA, symbology, ELEMENTS)
    assert literal is not None
    assert (literal.text, literal.gs1) == (GS1, None)
    assert literal.symbology != symbology


def test_databar_is_gs1() -> None:
    found = read("(01)09501101530003(10)AB1", "DataBarExp")
    assert found is not None
    assert found.gs1 == (Element("01", "09501101530003"), Element("10", "AB1"))


def test_a_separator_is_not_the_four_characters_that_print_it() -> None:
    separator, literal = read(b"A\x1dB", "DataMatrix"), read("A<GS>B", "DataMatrix")
    assert separator is not None
    assert literal is not None
    assert (separator.text, literal.text) == ("A\x1dB", "A<GS>B")
    assert separator.gs1 is None
    assert separator.data is None  # the text in UTF-8 is all that there is


@pytest.mark.parametrize("kind", ["QRCode", "DataMatrix", "Aztec", "PDF417"])
def test_the_bytes_of_a_binary_code_can_be_had(kind: str) -> None:
    content = bytes([0, 1, 0xFE, 0xFF]) + b"abc"
    found = read(content, kind)
    assert found is not None
    assert found.data == content
    assert found.base64 == "AAH+/2FiYw=="


@pytest.mark.parametrize(
    ("content", "written", "text", "kind"),
    [
        ("AB/C12", "Code39", "AB/C12", "Code 39"),
        ("ABC+A$M", "Code39", "ABC+A$M", "Code 39"),
        ("-1234562", "Code39", "-1234562", "Code 39"),
        ("036000291452", "UPCA", "036000291452", "UPC-A"),
        ("01234565", "UPCE", "01234565", "UPC-E"),
        ("4006381333931", "EAN13", "4006381333931", "EAN-13"),
        ("96385074", "EAN8", "96385074", "EAN-8"),
        ("1234", "ITF", "1234", "ITF"),
        ("15400141288763", "ITF", "15400141288763", "ITF"),
        ("A1234B", "Codabar", "A1234B", "Codabar"),
        ("ABC-1234-/+", "Code93", "ABC-1234-/+", "Code 93"),
        ("hello", "MicroQRCode", "hello", "Micro QR Code"),
    ],
)
def test_one_dimensional_codes_are_given_as_they_are_printed(content: str, written: str, text: str, kind: str) -> None:
    found = read(content, written)
    assert found is not None
    assert (found.text, found.format) == (text, kind)
    assert found.gs1 is None
    assert found.data is None


def test_a_reader_of_ean_13_alone_gets_thirteen_digits() -> None:
    found = read("036000291452", "UPCA", Reading(formats=("EAN-13",)))
    assert found is not None
    assert (found.text, found.format) == ("0036000291452", "EAN-13")


def test_extended_code_39_is_read_where_it_is_asked_for() -> None:
    found = read("AB/C12", "Code39", Reading(formats=("Code 39 Extended",)))
    assert found is not None
    assert found.text == "AB#12"


@pytest.mark.parametrize(
    ("kind", "format_", "right", "wrong"),
    [
        ("Code39", "Code 39", "CODE39W", "CODE39X"),
        ("ITF", "ITF", "15400141288763", "15400141288764"),
        ("Codabar", "Codabar", "A37858B", "A37859B"),
    ],
)
def test_check_digits_are_checked_where_the_manifest_says_that_there_are_some(
    kind: str, format_: Any, right: str, wrong: str
) -> None:
    strict = Reading(checked=(format_,))
    assert check_digits.is_right(format_, right)
    assert not check_digits.is_right(format_, wrong)
    for text in (right, wrong):
        assert read(text, kind) is not None
    assert read(wrong, kind, strict) is None
    found = read(right, kind, strict)
    assert found is not None
    assert found.text == right


@pytest.mark.parametrize(
    "data", ["", "0", "01", "0109501101530003X", "0112345", "99", "10", "5512345", "AB12", "10\x1d21A", "\x1d10A"]
)
def test_what_does_not_follow_gs1_has_no_elements(data: str) -> None:
    assert gs1.elements(data) == ()


VARIABLE = st.sampled_from(["10", "21", "30", "37", "235", "240", "400", "421", "710", "7003", "8005", "91", "3922"])
FIXED = st.sampled_from(
    [("00", 18), ("01", 14), ("11", 6), ("17", 6), ("20", 2), ("3103", 6), ("3650", 6), ("414", 13)]
)
DIGITS = st.text("0123456789", min_size=1, max_size=18)


@given(st.lists(st.one_of(st.tuples(VARIABLE, DIGITS), st.tuples(FIXED, DIGITS)), min_size=1, max_size=6))
def test_elements_are_found_again(parts: list[tuple[Any, str]]) -> None:
    expected, data = [], ""
    for ai, value in parts:
        if isinstance(ai, tuple):
            ai, value = ai[0], value.zfill(ai[1])[-ai[1] :]
            data += ai + value
        else:
            data += ai + value + gs1.SEPARATOR
        expected.append(Element(ai, value))
    assert gs1.elements(data) == tuple(expected)
    assert gs1.elements(data.removesuffix(gs1.SEPARATOR)) == tuple(expected)


def test_elements_are_those_that_zxing_prints() -> None:
    content = "(01)09501101530003(17)271231(3103)001750(10)ABC(21)42"
    written = zxingcpp.create_barcode(content, zxingcpp.BarcodeFormat.DataMatrix, gs1=True)
    image = np.asarray(written.to_image(scale=4, add_quiet_zones=True))
    (plain,) = zxingcpp.read_barcodes(image, text_mode=zxingcpp.TextMode.Plain)
    (printed,) = zxingcpp.read_barcodes(image, text_mode=zxingcpp.TextMode.HRI)
    assert "".join(f"({ai}){value}" for ai, value in gs1.elements(plain.text)) == printed.text
