"""Which JPEGs may go to a hardware decoder."""

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.errors import InvalidImage, RequestError
from app.vision.image import decode, read_header, textured_specimens
from app.vision.plain_jpeg import is_plain
from tests.vision.pictures import exif, file_of, photograph

PHOTO = Image.fromarray(photograph(160, 120))
PLAIN = file_of(PHOTO, "JPEG", quality=90)
WHOLE = decode(PLAIN, read_header(PLAIN)).pixels
EXAMPLES = sorted(Path("models/shelf/examples").glob("*.jpg"))


def plain(data: bytes) -> bool:
    return is_plain(data, read_header(data))


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def with_segment(data: bytes, marker: int, content: bytes) -> bytes:
    return data[:2] + segment(marker, content) + data[2:]


def patched(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


FRAME, SCAN = PLAIN.index(b"\xff\xc0"), PLAIN.index(b"\xff\xda")
THUMBNAIL = file_of(PHOTO.resize((32, 24)), "JPEG")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_bundled_examples_are_plain(path: Path) -> None:
    assert plain(path.read_bytes())


def test_the_specimens_are_too() -> None:
    headers = [read_header(data) for data in textured_specimens()]
    assert [header.size for header in headers] == [(1280, 720), (1920, 1080)]
    for data, header in zip(textured_specimens(), headers, strict=True):
        assert is_plain(data, header)
        assert 100_000 < len(data) < 1_000_000, "a decoder has as much to do as with a camera's"


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_every_usual_sampling_is(subsampling: int) -> None:
    assert plain(file_of(PHOTO, "JPEG", subsampling=subsampling))


@pytest.mark.parametrize(
    "data",
    [
        file_of(PHOTO.convert("L"), "JPEG"),
        file_of(PHOTO, "JPEG", exif=exif(6)),
        file_of(PHOTO, "JPEG", restart_marker_blocks=4),
        file_of(PHOTO, "JPEG", optimize=True),
        file_of(PHOTO, "JPEG", comment=b"\xff\xd9 is no end here"),
        with_segment(PLAIN, 0xE1, b"Exif\0\0" + THUMBNAIL),
        with_segment(PLAIN, 0xEE, b"Adobe\0d\0\0\0\0\x01"),
        with_segment(PLAIN, 0xEE, b"somebody else's"),
        PLAIN + b"\0\0\0",
        PLAIN + THUMBNAIL,
    ],
    ids=["grey", "exif", "restarts", "optimised", "comment", "thumbnail", "adobe", "app14", "padded", "second picture"],
)
def test_so_are_ordinary_variations(data: bytes) -> None:
    assert plain(data)


@pytest.mark.parametrize(
    "data",
    [
        file_of(PHOTO, "PNG"),
        file_of(PHOTO, "JPEG", progressive=True),
        file_of(PHOTO.convert("CMYK"), "JPEG"),
        file_of(PHOTO, "JPEG", keep_rgb=True),
        with_segment(PLAIN, 0xEE, b"Adobe\0d\0\0\0\0\0"),
        with_segment(PLAIN, 0xEE, b"Adobe"),
        PLAIN[:20] + b"\0" + PLAIN[20:],
        patched(PLAIN, FRAME + 1, 0xC1),
        patched(PLAIN, FRAME + 11, 0x41),
        patched(PLAIN, FRAME + 14, 0x12),
        patched(PLAIN, SCAN + 4, 1),
        PLAIN[:SCAN] + PLAIN[FRAME : FRAME + 19] + PLAIN[SCAN:],
        PLAIN[:-2] + PLAIN[SCAN:],
        PLAIN[:SCAN] + PLAIN[-2:],
    ],
    ids=[
        "png",
        "progressive",
        "cmyk",
        "rgb",
        "adobe rgb",
        "short adobe",
        "stray byte",
        "extended",
        "luma sampled four times",
        "chroma sampled twice",
        "a scan of one component",
        "two frames",
        "two scans",
        "no scan",
    ],
)
def test_what_is_out_of_the_ordinary_is_not(data: bytes) -> None:
    assert not plain(data)


@given(st.integers(1, len(PLAIN)))
def test_a_file_that_is_cut_short_is_not_and_the_cpu_refuses_it_unless_all_pixels_are_there(missing: int) -> None:
    data = PLAIN[:-missing]
    try:
        header = read_header(data)
    except RequestError:
        return
    assert not is_plain(data, header)
    with contextlib.suppress(InvalidImage):
        assert np.array_equal(decode(data, header).pixels, WHOLE)


@given(st.integers(0, SCAN), st.integers(0, 255))
def test_a_damaged_header_is_never_a_traceback(at: int, value: int) -> None:
    data = patched(PLAIN, at, value)
    assert is_plain(data, read_header(PLAIN)) in (True, False)


def test_what_lies_behind_the_end_does_not_matter() -> None:
    tail = np.random.default_rng(0).integers(0, 256, 1000, np.uint8).tobytes()
    assert plain(PLAIN + tail)
