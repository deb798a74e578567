"""Every kind of file becomes the right pixels, or an error; never half a picture."""

import contextlib
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from app.errors import InvalidImage, RequestError
from app.vision.image import ImageHeader, Picture, Size, decode, decode_grey, read_header, specimen
from tests.vision.pictures import BLUE, GREEN, RED, STORED, WHITE, chunk, exif, file_of, photograph, png

PIXELS = photograph(160, 120)
PHOTO = Image.fromarray(PIXELS)


def decoded(data: bytes, at_least: Size | None = None) -> Picture:
    return decode(data, read_header(data), at_least)


def difference(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> float:
    return float(np.abs(left.astype(int) - right.astype(int)).mean())


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 90}, 4),
        ("JPEG", {"quality": 95}, 3),
        ("JPEG", {"quality": 95, "progressive": True, "subsampling": 0}, 3),
    ],
)
def test_pixels_are_rgb_and_true(kind: str, options: dict[str, object], tolerance: float) -> None:
    picture = decoded(file_of(PHOTO, kind, **options))
    assert picture.size == (160, 120)
    assert (picture.pixels.shape, picture.pixels.dtype) == ((120, 160, 3), np.uint8)
    assert difference(picture.pixels, PIXELS) <= tolerance


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_jpegs_agree_with_pillow(mode: str) -> None:
    image = PHOTO.convert(mode)
    expected = np.asarray(image.convert("RGB"))
    assert difference(decoded(file_of(image, "JPEG", quality=95)).pixels, expected) < 3


def test_a_cmyk_jpeg_is_right_with_and_without_its_adobe_segment() -> None:
    data = file_of(PHOTO.convert("CMYK"), "JPEG", quality=95)
    start = data.index(b"\xff\xee")
    (length,) = struct.unpack_from(">H", data, start + 2)
    bare = data[:start] + data[start + 2 + length :]
    assert difference(decoded(data).pixels, PIXELS) < 3
    assert difference(decoded(bare).pixels, PIXELS) < 3


def one_pixel(data: bytes) -> list[int]:
    return [int(value) for value in decoded(data).pixels[0, 0]]


def _palette() -> Image.Image:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([*WHITE, 200, 100, 50])
    return image


TWO_BYTES = struct.Struct(">H").pack
KINDS_OF_PNG = {
    "one bit": (file_of(Image.new("1", (9, 9), 1), "PNG"), [255] * 3),
    "two bits of grey": (png((1, 1), 2, 0, b"\0\x80"), [170] * 3),
    "grey": (file_of(Image.new("L", (4, 4), 77), "PNG"), [77] * 3),
    "grey of 16 bits is scaled": (png((1, 1), 16, 0, b"\0" + TWO_BYTES(0x8000)), [128] * 3),
    "bright grey of 16 bits": (png((1, 1), 16, 0, b"\0" + TWO_BYTES(0xFFFF)), [255] * 3),
    "dark grey of 16 bits is not white": (png((1, 1), 16, 0, b"\0" + TWO_BYTES(0x0300)), [3] * 3),
    "rgb of 16 bits": (png((1, 1), 16, 2, b"\0" + struct.pack(">3H", 0xFFFF, 0x8080, 0)), [255, 128, 0]),
    "palette": (file_of(_palette(), "PNG"), [200, 100, 50]),
    "palette, clear": (file_of(_palette(), "PNG", transparency=1), [255] * 3),
    "palette, half clear": (file_of(_palette(), "PNG", transparency=b"\xff\x80"), [227, 177, 152]),
    "rgba, clear": (file_of(Image.new("RGBA", (4, 4), (1, 2, 3, 0)), "PNG"), [255] * 3),
    "rgba, half clear": (file_of(Image.new("RGBA", (4, 4), (255, 0, 100, 128)), "PNG"), [255, 127, 177]),
    "rgba, solid": (file_of(Image.new("RGBA", (4, 4), (1, 2, 3, 255)), "PNG"), [1, 2, 3]),
    "rgba of 16 bits": (png((1, 1), 16, 6, b"\0" + struct.pack(">4H", 0xFFFF, 0, 0, 0x8080)), [255, 127, 127]),
    "grey and alpha": (file_of(Image.new("LA", (4, 4), (100, 128)), "PNG"), [177] * 3),
    "grey and alpha of 16 bits": (png((1, 1), 16, 4, b"\0" + struct.pack(">2H", 0, 0x8080)), [127] * 3),
    "rgb with a clear colour": (file_of(Image.new("RGB", (4, 4), (9, 8, 7)), "PNG", transparency=(9, 8, 7)), [255] * 3),
    "grey with a clear value": (file_of(Image.new("L", (4, 4), 9), "PNG", transparency=9), [255] * 3),
    "grey with another clear value": (file_of(Image.new("L", (4, 4), 9), "PNG", transparency=8), [9] * 3),
    "two bits with a clear value": (png((1, 1), 2, 0, b"\0\x80", chunk(b"tRNS", TWO_BYTES(2))), [255] * 3),
    "16 bits with a clear value": (png((1, 1), 16, 0, b"\0\1\2", chunk(b"tRNS", TWO_BYTES(0x0102))), [255] * 3),
    "interlaced": (file_of(Image.new("RGB", (4, 4), (9, 8, 7)), "PNG", interlace=1), [9, 8, 7]),
}


@pytest.mark.parametrize("kind", KINDS_OF_PNG)
def test_every_kind_of_png(kind: str) -> None:
    data, expected = KINDS_OF_PNG[kind]
    assert np.abs(np.subtract(one_pixel(data), expected)).max() <= 1


def test_transparent_webp_is_laid_on_white() -> None:
    assert one_pixel(file_of(Image.new("RGBA", (4, 4), (255, 0, 100, 128)), "WEBP", lossless=True)) == [255, 127, 177]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    data = file_of(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    assert np.abs(decoded(data).pixels.astype(int) - RED).max() <= 2


def _marked() -> Image.Image:
    """Red in the upper left corner, green in the upper right one, white elsewhere."""
    pixels = np.full((48, 96, 3), 255, np.uint8)
    pixels[:16, :32], pixels[:16, 64:] = RED, GREEN
    return Image.fromarray(pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("at_least", [None, Size(24, 12)])
def test_the_picture_comes_upright(kind: str, orientation: int, at_least: Size | None) -> None:
    upright = _marked()
    stored = upright.transpose(STORED[orientation]) if orientation in STORED else upright
    picture = decoded(file_of(stored, kind, exif=exif(orientation)), at_least)
    height, width = picture.pixels.shape[:2]
    assert (width * 48, picture.size) == (height * 96, (96, 48))
    corner = np.asarray(picture.pixels[height // 6, width // 6], int)
    other = np.asarray(picture.pixels[height // 6, width * 5 // 6], int)
    below = np.asarray(picture.pixels[height * 5 // 6, width // 6], int)
    assert max(np.abs(corner - RED).max(), np.abs(other - GREEN).max(), np.abs(below - WHITE).max()) < 40


def test_orientation_agrees_with_pillow() -> None:
    for orientation in range(1, 9):
        data = file_of(PHOTO, "PNG", exif=exif(orientation))
        expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
        assert np.array_equal(decoded(data).pixels, expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 300), st.integers(1, 300), st.integers(1, 300), st.sampled_from([1, 6]))
def test_a_scaled_decode_is_never_smaller_than_asked(
    width: int, height: int, wanted_width: int, wanted_height: int, orientation: int
) -> None:
    data = file_of(np.zeros((height, width, 3), np.uint8), "JPEG", exif=exif(orientation))
    header = read_header(data)
    picture = decode(data, header, Size(wanted_width, wanted_height))
    got_height, got_width = picture.pixels.shape[:2]
    assert picture.size == header.upright
    assert got_width >= min(wanted_width, header.upright.width)
    assert got_height >= min(wanted_height, header.upright.height)


@pytest.mark.parametrize(
    ("at_least", "factor"),
    [((160, 120), 1), ((81, 60), 1), ((80, 60), 2), ((41, 30), 2), ((40, 30), 4), ((20, 15), 8), ((1, 1), 8)],
)
def test_a_jpeg_is_decoded_as_small_as_will_do(at_least: tuple[int, int], factor: int) -> None:
    picture = decoded(file_of(PHOTO, "JPEG"), Size(*at_least))
    assert picture.pixels.shape == (120 // factor, 160 // factor, 3)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (641, 483), (1279, 719)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_scaled_and_full_decodes_show_the_same(width: int, height: int, mode: str) -> None:
    data = file_of(Image.fromarray(photograph(width, height)).convert(mode), "JPEG", quality=90)
    target = Size(width // 3, height // 3)
    small = cv2.resize(decoded(data, target).pixels, target, interpolation=cv2.INTER_LINEAR)
    full = cv2.resize(decoded(data).pixels, target, interpolation=cv2.INTER_AREA)
    assert difference(np.asarray(small, np.uint8), np.asarray(full, np.uint8)) < 2


def _with_broken_checksum() -> bytes:
    data = bytearray(file_of(PHOTO, "PNG"))
    start = data.index(b"IDAT")
    (length,) = struct.unpack_from(">I", data, start - 4)
    data[start + 4 + length] ^= 1
    return bytes(data)


def _without_pixels() -> bytes:
    data = file_of(PHOTO, "PNG")
    return data[: data.index(b"IDAT") - 4] + chunk(b"IEND", b"")


def _cut(kind: str, share: float, **options: object) -> bytes:
    data = file_of(PHOTO, kind, **options)
    return data[: int(len(data) * share)]


DAMAGED = {
    "JPEG, half": _cut("JPEG", 0.5),
    "JPEG, nearly whole": _cut("JPEG", 0.95),
    "progressive JPEG, half": _cut("JPEG", 0.5, progressive=True),
    "CMYK JPEG, half": (lambda data: data[: len(data) // 2])(file_of(PHOTO.convert("CMYK"), "JPEG")),
    "PNG, half": _cut("PNG", 0.5),
    "PNG without its end": file_of(PHOTO, "PNG")[:-12],
    "PNG with a wrong checksum": _with_broken_checksum(),
    "PNG without pixels": _without_pixels(),
    "PNG with too few rows": png((4, 4), 8, 0, bytes(5)),
    "PNG with a second header": png(
        (1, 1), 8, 0, b"\0\x80", chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 0, 0, 0, 0))
    ),
    "PNG with a broken stream": b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))
    + chunk(b"IDAT", b"not zlib")
    + chunk(b"IEND", b""),
    "WebP, half": _cut("WEBP", 0.5),
    "WebP, nearly whole": _cut("WEBP", 0.95),
    "lossless WebP, half": _cut("WEBP", 0.5, lossless=True),
    "animated WebP, a quarter": _cut("WEBP", 0.25, save_all=True, append_images=[PHOTO.rotate(180)]),
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("at_least", [None, Size(40, 30)])
def test_a_damaged_file_is_refused(kind: str, at_least: Size | None) -> None:
    with pytest.raises(InvalidImage):
        decoded(DAMAGED[kind], at_least)


def test_a_jpeg_cut_anywhere_gives_all_its_pixels_or_none() -> None:
    whole = file_of(PHOTO, "JPEG")
    expected = decoded(whole).pixels
    for cut in range(1, 60):
        with contextlib.suppress(InvalidImage):
            assert np.array_equal(decoded(whole[:-cut]).pixels, expected)


def test_bytes_after_the_end_are_ignored() -> None:
    for kind in ("JPEG", "PNG"):
        assert decoded(file_of(PHOTO, kind) + b"trailing" * 50).size == (160, 120)


def test_a_header_of_another_size_is_refused() -> None:
    data = file_of(PHOTO, "PNG")
    with pytest.raises(InvalidImage, match="not of the size"):
        decode(data, ImageHeader("PNG", Size(80, 120), 1, "RGB"))


def test_a_jpeg_of_endless_scans_is_refused_before_it_is_decoded() -> None:
    data = file_of(PHOTO, "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    scan = data[start:-2]
    with pytest.raises(InvalidImage, match="scans"):
        decoded(data[:start] + scan * 200 + data[-2:])


def test_a_hostile_animation_is_never_looked_at() -> None:
    control = chunk(b"acTL", struct.pack(">II", 10**6, 0))
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 2**31 - 1, 2**31 - 1, 5, 5, 1, 1, 9, 9))
    data = png((1, 1), 8, 0, b"\0\x80", extra=control + frame)
    late = data[:-12] + frame + chunk(b"fdAT", b"\0\0\0\1" + zlib.compress(b"junk")) + data[-12:]
    assert one_pixel(late) == [128] * 3


def test_a_chunk_that_claims_gigabytes_never_reaches_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(file_of(PHOTO, "PNG"))
    start = data.index(b"IDAT")
    data[start - 4 : start] = struct.pack(">I", 2**31 - 1)
    header = read_header(bytes(data))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("OpenCV would take ten seconds over it"))
    with pytest.raises(InvalidImage):
        decode(bytes(data), header)


def test_metadata_is_not_unpacked() -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + b"not zlib")
    profile = chunk(b"iCCP", b"profile\0\0" + b"not zlib")
    assert one_pixel(png((1, 1), 8, 0, b"\0\x80", text + profile)) == [128] * 3


def test_a_png_of_endless_empty_chunks_is_refused() -> None:
    data = png((1, 1), 8, 0, b"\0\x80")
    with pytest.raises(InvalidImage):
        decoded(data[:-12] + chunk(b"IDAT", b"") * 100_001 + data[-12:])


FILES = [
    file_of(PHOTO.resize((32, 24)), kind, **options)
    for kind, options in (
        ("JPEG", {"exif": exif(6)}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {"exif": exif(3)}),
        ("WEBP", {"lossless": True}),
    )
] + [file_of(PHOTO.resize((32, 24)).convert(mode), "PNG") for mode in ("RGBA", "LA", "P", "1")]


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(FILES),
    st.lists(st.tuples(st.integers(0, 10**5), st.integers(0, 255)), max_size=6),
    st.none() | st.floats(0, 1),
    st.none() | st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_mutated_files_give_a_whole_picture_or_an_error(
    data: bytes, changes: list[tuple[int, int]], cut: float | None, at_least: tuple[int, int] | None
) -> None:
    mutated = bytearray(data)
    for position, value in changes:
        mutated[position % len(mutated)] = value
    content = bytes(mutated if cut is None else mutated[: int(cut * len(mutated))])
    try:
        header = read_header(content)
        if header.pixels > 10**6:  # the caller's limit
            return
        picture = decode(content, header, at_least and Size(*at_least))
    except RequestError:
        return
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.ndim == 3
    assert picture.size == header.upright


def grey_of(data: bytes) -> NDArray[np.uint8]:
    return decode_grey(data, read_header(data)).pixels


@pytest.mark.parametrize("kind", KINDS_OF_PNG)
def test_grey_of_every_kind_of_png(kind: str) -> None:
    data, expected = KINDS_OF_PNG[kind]
    red, green, blue = expected
    assert abs(int(grey_of(data)[0, 0]) - (0.299 * red + 0.587 * green + 0.114 * blue)) <= 2


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_grey_of_a_jpeg_is_the_brightness_of_its_colours(mode: str, progressive: bool) -> None:
    data = file_of(PHOTO.convert(mode), "JPEG", quality=95, progressive=progressive)
    grey = grey_of(data)
    assert (grey.shape, grey.dtype) == ((120, 160), np.uint8)
    colours = cv2.cvtColor(decoded(data).pixels, cv2.COLOR_RGB2GRAY)
    assert difference(grey, np.asarray(colours, np.uint8)) < 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_grey_comes_upright(kind: str, orientation: int) -> None:
    data = file_of(_marked(), kind, exif=exif(orientation))
    colours = cv2.cvtColor(decoded(data).pixels, cv2.COLOR_RGB2GRAY)
    assert difference(grey_of(data), np.asarray(colours, np.uint8)) < 3


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_refused_in_grey_too(kind: str) -> None:
    with pytest.raises(InvalidImage):
        grey_of(DAMAGED[kind])


def test_the_specimen_is_a_picture() -> None:
    assert decoded(specimen()).pixels.shape == (720, 1280, 3)
