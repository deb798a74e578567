"""What decoding takes, measured in a process of its own, stays within what the header promises."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.vision import decode_memory, drawing_memory, image
from app.vision.image import ImageHeader, Size
from tests.vision.pictures import chunk, exif, file_of, png_of

WIDTH, HEIGHT = 1800, 1400
MEASURE = Path(__file__).with_name("measure_decoding.py")
TARGET = Size(512, 320)

_CLOUDS = np.random.default_rng(0).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 4), np.uint8)
RGBA = cv2.resize(_CLOUDS, (WIDTH, HEIGHT))
RGB, GREY = np.ascontiguousarray(RGBA[..., :3]), np.ascontiguousarray(RGBA[..., 0])
PHOTO, GLASS = Image.fromarray(RGB), Image.fromarray(RGBA)
FAST = {"compress_level": 0}
LOSSLESS = {"lossless": True, "quality": 0, "method": 0}

KINDS = {
    "JPEG": lambda: file_of(PHOTO, "JPEG"),
    "JPEG, 4:4:4, turned": lambda: file_of(PHOTO, "JPEG", subsampling=0, exif=exif(6)),
    "JPEG, grey": lambda: file_of(GREY, "JPEG"),
    "JPEG, CMYK": lambda: file_of(PHOTO.convert("CMYK"), "JPEG"),
    "progressive JPEG": lambda: file_of(PHOTO, "JPEG", progressive=True),
    "progressive JPEG, 4:4:4, turned": lambda: file_of(PHOTO, "JPEG", progressive=True, subsampling=0, exif=exif(8)),
    "progressive JPEG, CMYK": lambda: file_of(PHOTO.convert("CMYK"), "JPEG", progressive=True),
    "JPEG without its end": lambda: file_of(PHOTO, "JPEG")[:-2],
    "PNG, RGB": lambda: file_of(PHOTO, "PNG", **FAST),
    "PNG, RGB, turned": lambda: file_of(PHOTO, "PNG", exif=exif(6), **FAST),
    "PNG, RGBA": lambda: file_of(GLASS, "PNG", **FAST),
    "PNG, RGBA, turned": lambda: file_of(GLASS, "PNG", exif=exif(5), **FAST),
    "PNG, LA": lambda: file_of(GLASS.convert("LA"), "PNG", **FAST),
    "PNG, L": lambda: file_of(GREY, "PNG", **FAST),
    "PNG, palette": lambda: file_of(PHOTO.quantize(64, Image.Quantize.FASTOCTREE), "PNG", **FAST),
    "PNG, palette with transparency": lambda: file_of(
        PHOTO.quantize(64, Image.Quantize.FASTOCTREE), "PNG", transparency=b"\0\x80", **FAST
    ),
    "PNG, RGB with a clear colour": lambda: file_of(PHOTO, "PNG", transparency=(1, 2, 3), **FAST),
    "PNG, L with a clear value": lambda: file_of(GREY, "PNG", transparency=5, **FAST),
    "PNG, RGBA, interlaced": lambda: png_of(RGBA, interlaced=True),
    "PNG, 16 bits, RGB": lambda: png_of(RGB.astype(np.uint16) * 257),
    "PNG, 16 bits, RGBA": lambda: png_of(RGBA.astype(np.uint16) * 257),
    "PNG, 16 bits, RGBA, interlaced, turned": lambda: png_of(
        RGBA.astype(np.uint16) * 257, chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0")), interlaced=True
    ),
    "PNG, 16 bits, L": lambda: png_of(GREY.astype(np.uint16) * 257),
    "PNG, 16 bits, L with a clear value": lambda: png_of(GREY.astype(np.uint16) * 257, chunk(b"tRNS", b"\1\1")),
    "WebP": lambda: file_of(PHOTO, "WEBP", method=0),
    "WebP, turned": lambda: file_of(PHOTO, "WEBP", method=0, exif=exif(6)),
    "WebP, lossless": lambda: file_of(PHOTO, "WEBP", **LOSSLESS),
    "WebP with transparency": lambda: file_of(GLASS, "WEBP", method=0),
    "WebP, lossless with transparency": lambda: file_of(GLASS, "WEBP", **LOSSLESS),
    "WebP, animated": lambda: file_of(PHOTO, "WEBP", save_all=True, append_images=[PHOTO.rotate(180)], method=0),
    "WebP, animated with transparency": lambda: file_of(
        GLASS, "WEBP", save_all=True, append_images=[GLASS.rotate(180)], method=0
    ),
}


@pytest.fixture(scope="module")
def measuring() -> "Iterator[subprocess.Popen[str]]":
    """A process that measures what it is told to, one file a line."""
    command = [sys.executable, str(MEASURE), *map(str, TARGET)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def measured(process: "subprocess.Popen[str]", file: Path) -> dict[str, int]:
    """The most bytes that each way to decode a file takes."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{file}\n")
    process.stdin.flush()
    peaks: dict[str, int] = json.loads(process.stdout.readline())
    return peaks


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_picture_takes_more_than_its_header_promises(
    kind: str, measuring: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    data = KINDS[kind]()
    header = image.read_header(data)
    (tmp_path / "picture").write_bytes(data)
    taken = measured(measuring, tmp_path / "picture")
    promised = {
        "whole": decode_memory.decode_bytes(header, len(data)),
        "whole, 12 bits": decode_memory.decode_bytes(header, len(data), levels=(0, 4095)),
        "for a model": decode_memory.decode_bytes(header, len(data), TARGET),
        "grey": decode_memory.grey_bytes(header, len(data)),
        "grey, 12 bits": decode_memory.grey_bytes(header, len(data), (0, 4095)),
        "drawn as PNG": drawing_memory.drawing_bytes(header, len(data)),
        "drawn as JPEG": drawing_memory.drawing_bytes(header, len(data)),
    }
    assert taken.keys() == promised.keys()
    for way, most in promised.items():
        assert taken[way] <= most, way
        if not way.startswith("drawn"):
            assert most <= decode_memory.worst_bytes(header.pixels, len(data)), way


@pytest.mark.parametrize("kind", ["PNG, RGBA", "PNG, RGB", "JPEG"])
def test_what_is_common_is_decoded_in_little_more_than_its_pixels(kind: str) -> None:
    data = KINDS[kind]()
    header = image.read_header(data)
    assert decode_memory.decode_bytes(header, 0) <= 5 * header.pixels + 2**23


@given(
    st.builds(
        ImageHeader,
        format=st.sampled_from(["JPEG", "PNG", "WEBP"]),
        size=st.builds(Size, st.integers(1, 65_535), st.integers(1, 65_535)),
        orientation=st.integers(1, 8),
        mode=st.sampled_from(["1", "L", "I;16", "RGB", "RGBA", "P", "LA"]),
        transparent=st.booleans(),
        deep=st.booleans(),
        plain=st.booleans(),
    ).filter(lambda header: header.format == "PNG" or not header.deep),
    st.integers(0, 2**25),
    st.sampled_from([(0, 65_535), (0, 4095)]),
)
def test_the_worst_is_the_worst(header: ImageHeader, file_bytes: int, levels: tuple[int, int]) -> None:
    worst = decode_memory.worst_bytes(header.pixels, file_bytes)
    assert decode_memory.decode_bytes(header, file_bytes, levels=levels) <= worst
    assert decode_memory.grey_bytes(header, file_bytes, levels) <= worst


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
@pytest.mark.parametrize("size", [(1, 30_000), (30_000, 1), (2000, 1500)])
def test_coefficients_count_for_progressive_jpegs_of_any_shape(mode: str, size: tuple[int, int]) -> None:
    data = file_of(Image.new(mode, size), "JPEG", progressive=True)
    header = image.read_header(data)
    assert header.coefficient_bytes >= 3 * header.pixels
    assert decode_memory.decode_bytes(header, len(data)) <= decode_memory.worst_bytes(header.pixels, len(data))
