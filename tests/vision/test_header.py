"""What the header says, and what is refused before anything is decoded."""

import contextlib
import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from app.errors import InvalidImage, RequestError, UnsupportedImage
from app.vision.header import ImageHeader, Size, read_header
from tests.vision.pictures import chunk, exif, file_of, photograph, png

PHOTO = Image.fromarray(photograph(61, 37))


@pytest.mark.parametrize(
    ("kind", "options", "mode", "media_type"),
    [
        ("JPEG", {}, "RGB", "image/jpeg"),
        ("JPEG", {"progressive": True}, "RGB", "image/jpeg"),
        ("PNG", {}, "RGB", "image/png"),
        ("WEBP", {}, "RGB", "image/webp"),
        ("WEBP", {"lossless": True}, "RGB", "image/webp"),
        ("WEBP", {"exif": exif(1)}, "RGB", "image/webp"),
    ],
)
def test_says_what_the_file_is(kind: str, options: dict[str, object], mode: str, media_type: str) -> None:
    header = read_header(file_of(PHOTO, kind, **options))
    assert (header.format, header.size, header.orientation, header.mode) == (kind, Size(61, 37), 1, mode)
    assert (header.media_type, header.pixels, header.upright) == (media_type, 61 * 37, Size(61, 37))
    assert not header.transparent
    assert header.progressive == ("progressive" in options)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("JPEG", mode) for mode in ("L", "CMYK")),
        *(("PNG", mode) for mode in ("1", "L", "LA", "P", "RGBA", "I;16")),
        ("WEBP", "RGBA"),
    ],
)
def test_names_the_mode_as_pillow_does(kind: str, mode: str) -> None:
    header = read_header(file_of(Image.new(mode, (8, 5)), kind))
    assert header.mode == mode
    assert header.transparent == (mode in ("LA", "RGBA"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_reads_the_orientation(kind: str, orientation: int) -> None:
    header = read_header(file_of(PHOTO, kind, exif=exif(orientation)))
    assert header.orientation == orientation
    assert header.size == (61, 37)
    assert header.upright == ((37, 61) if orientation >= 5 else (61, 37))


@pytest.mark.parametrize("orientation", [0, 9, 60000])
def test_an_orientation_that_does_not_exist_counts_as_upright(orientation: int) -> None:
    assert read_header(file_of(PHOTO, "JPEG", exif=exif(orientation))).orientation == 1


@pytest.mark.parametrize(
    "tiff",
    [
        b"",
        b"XX*\0",
        b"II*\0",
        b"II*\0" + struct.pack("<I", 10**9),
        b"MM\0*" + struct.pack(">IH", 8, 65535),
        b"II*\0" + struct.pack("<IH", 8, 1) + struct.pack("<HHI", 0x0112, 3, 1),
    ],
)
def test_damaged_exif_does_not_hide_a_good_picture(tiff: bytes) -> None:
    data = png((1, 1), 8, 0, b"\0\x80", extra=chunk(b"eXIf", tiff))
    assert read_header(data).orientation == 1


def test_reads_an_orientation_stored_as_a_long_number() -> None:
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHII", 0x0112, 4, 1, 6)
    assert read_header(png((2, 1), 8, 0, b"\0\x80\x80", extra=chunk(b"eXIf", tiff))).upright == (1, 2)


@pytest.mark.parametrize(
    ("start", "named"),
    [
        (b"GIF89a", "a GIF"),
        (b"BM", "a BMP"),
        (b"II*\0", "a TIFF"),
        (b"\0\0\0\x18ftypheic", "a HEIC"),
        (b"\0\0\0\x18ftypavif", "an AVIF"),
        (b"\0\0\0\x18ftypmp42", "a video"),
        (b"%PDF-1.7", "a PDF"),
        (b"<?xml version='1.0'?><svg/>", "an SVG"),
        (b"\r\n \t<svg/>", "an SVG"),
        (b" " * 10**6 + b"<svg/>", "no picture format that we know"),
        (b"/9j/4AAQSkZJRg", "base64"),
        (b"data:image/png;base64,iVBOR", "base64"),
        (b"RIFF\0\0\0\0WAVE", "no picture format that we know"),
        (b"hello", "no picture format that we know"),
        (b"\xff", "no picture format that we know"),
    ],
)
def test_names_what_is_not_served_and_what_to_send(start: bytes, named: str) -> None:
    with pytest.raises(UnsupportedImage, match=named) as refusal:
        read_header(start + bytes(20))
    assert "JPEG, PNG or WebP" in str(refusal.value)


def _with_size(kind: str, width: int, height: int) -> bytes:
    data = bytearray(file_of(PHOTO, kind))
    if kind == "PNG":
        data[16:24] = struct.pack(">II", width, height)
    elif kind == "WEBP":
        data[26:30] = struct.pack("<HH", width, height)
    else:
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("width", "height"), [(0, 37), (61, 0)])
def test_a_picture_without_pixels_is_refused(kind: str, width: int, height: int) -> None:
    with pytest.raises(InvalidImage, match=f"{width} x {height} pixels"):
        read_header(_with_size(kind, width, height))


def test_a_decompression_bomb_is_only_a_number() -> None:
    assert read_header(_with_size("PNG", 2**31 - 1, 2**31 - 1)).pixels == (2**31 - 1) ** 2
    assert read_header(_with_size("JPEG", 65535, 65535)).pixels == 65535**2


DAMAGED_JPEG = [
    b"\xff\xd8\xff",
    b"\xff\xd8\xff\xd9",
    b"\xff\xd8\xff\xc0\x00\x11\x08",
    b"\xff\xd8" + b"\xff\xe0\x00\x02" * 5000,
    b"\xff\xd8\xff\xc0\x00\x0b\x08" + struct.pack(">HHB", 5, 5, 2) + b"\xff\xda",
]
DAMAGED_PNG = [
    b"\x89PNG\r\n\x1a\n",
    b"\x89PNG\r\n\x1a\n" + chunk(b"CgBI", bytes(4)) + chunk(b"IHDR", bytes(13)),
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 5, 8, 5, 0, 0, 0)),
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**32 - 1, 5, 8, 2, 0, 0, 0)),
    png((1, 1), 8, 0, b"\0\x80", extra=chunk(b"tEXt", b"") * 5000),
]
DAMAGED_WEBP = [
    b"RIFF\0\0\0\0WEBP",
    b"RIFF\0\0\0\0WEBPWHAT" + bytes(30),
    b"RIFF\0\0\0\0WEBPVP8 " + bytes(30),
    b"RIFF\0\0\0\0WEBPVP8L" + bytes(30),
    b"RIFF\0\0\0\0WEBPVP8X" + bytes(5),
]


@pytest.mark.parametrize("data", [b"", *DAMAGED_JPEG, *DAMAGED_PNG, *DAMAGED_WEBP])
def test_a_damaged_header_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        read_header(data)


def test_twelve_bit_jpeg_is_refused_by_name() -> None:
    data = bytearray(file_of(PHOTO, "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(UnsupportedImage, match="12 bits"):
        read_header(bytes(data))


def test_stray_bytes_between_segments_are_skipped_as_libjpeg_does() -> None:
    data = file_of(PHOTO, "JPEG")
    assert read_header(data[:2] + b"\xff\xff\xff" + data[2:]).size == (61, 37)
    assert read_header(data[:20] + b"\xff\x00junk" + data[20:]).size == (61, 37)


def test_a_webp_canvas_is_the_size_of_an_animation() -> None:
    data = file_of(PHOTO, "WEBP", save_all=True, append_images=[PHOTO.rotate(180)])
    assert read_header(data).size == (61, 37)


FILES = [file_of(PHOTO, kind, exif=exif(6)) for kind in ("JPEG", "PNG", "WEBP")]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=8), st.data())
def test_hostile_bytes_are_read_or_refused_and_nothing_else(
    data: bytes, changes: list[tuple[int, int]], choice: st.DataObject
) -> None:
    mutated = bytearray(data)
    for position, value in changes:
        mutated[position % len(mutated)] = value
    cut = choice.draw(st.integers(0, len(mutated)))
    try:
        header = read_header(bytes(mutated[:cut]))
    except RequestError:
        return
    assert isinstance(header, ImageHeader)
    assert header.pixels > 0
    assert 1 <= header.orientation <= 8


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBPVP8X", b""]), st.binary(max_size=200))
def test_random_bytes_are_refused_cleanly(start: bytes, rest: bytes) -> None:
    with contextlib.suppress(InvalidImage, UnsupportedImage):
        read_header(start + rest)


def test_agrees_with_pillow_on_sizes() -> None:
    for side in (1, 2, 255, 256, 1000):
        for kind in ("JPEG", "PNG", "WEBP"):
            data = file_of(np.zeros((side, 3, 3), np.uint8), kind)
            assert read_header(data).size == Image.open(io.BytesIO(data)).size


def _exif_segment(orientation: int | None) -> bytes:
    content = b"Exif\0\0" + (b"II*\0\x08\0\0\0\0\0" if orientation is None else exif(orientation)[6:])
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


@pytest.mark.parametrize(("first", "second", "expected"), [(6, 8, 6), (6, None, 6), (None, 6, 1), (1, 6, 1)])
def test_the_first_exif_segment_counts(first: int | None, second: int | None, expected: int) -> None:
    data = file_of(PHOTO, "JPEG")
    data = data[:2] + _exif_segment(first) + _exif_segment(second) + data[2:]
    assert read_header(data).orientation == expected
    assert Image.open(io.BytesIO(data)).getexif().get(0x0112, 1) == expected


def test_the_first_exif_chunk_of_a_png_counts() -> None:
    chunks = b"".join(chunk(b"eXIf", exif(orientation)[6:]) for orientation in (6, 8))
    assert read_header(png((1, 1), 8, 0, b"\0\x80", extra=chunks)).orientation == 6


@pytest.mark.parametrize(
    ("marker", "named"), [(0xC3, "lossless"), (0xC7, "lossless"), (0xCB, "lossless"), (0xC5, "hierarchical")]
)
def test_a_jpeg_of_a_rare_kind_is_not_called_damaged(marker: int, named: str) -> None:
    data = bytearray(file_of(PHOTO, "JPEG"))
    data[data.index(b"\xff\xc0") + 1] = marker
    with pytest.raises(UnsupportedImage, match=f"{named} JPEG, which is not served"):
        read_header(bytes(data))


@pytest.mark.parametrize("stray", [b"\xff", b"\0", b"\xff\0"])
def test_a_marker_is_searched_within_bounds(stray: bytes) -> None:
    whole = file_of(Image.new("RGB", (8, 8)), "JPEG")
    after = 2 + 2 + int.from_bytes(whole[4:6], "big")  # behind the first segment, where the start is known
    few, many = (whole[:after] + stray * count + whole[after:] for count in (1000, 300_000))
    assert read_header(few).size == (8, 8)
    with pytest.raises(InvalidImage, match="damaged"):
        read_header(many)


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 6, 7, 8, 9, 13])
def test_an_orientation_of_any_type_is_read_as_pillow_reads_it(kind: int) -> None:
    tiff = b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x0112, kind, 1, 6) + b"\0\0\0\0"
    data = file_of(PHOTO, "JPEG", exif=b"Exif\0\0" + tiff)
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert read_header(data).upright == turned.size
