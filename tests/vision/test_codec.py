"""Large pictures are decoded where they will lie, and come out the same as small ones."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.errors import InvalidImage, RequestError
from app.vision import codec
from app.vision.image import Picture, Size, decode, decode_grey, read_header
from tests.vision.pictures import chunk, exif, file_of, photograph, png_of

PIXELS = photograph(61, 45)
PHOTO = Image.fromarray(PIXELS)
GLASS = PHOTO.convert("RGBA")
GLASS.putalpha(Image.fromarray(PIXELS[..., 2]))
DEEP = PIXELS.astype(np.uint16) * 257

FILES = {
    "JPEG": file_of(PHOTO, "JPEG", exif=exif(6)),
    "JPEG, progressive": file_of(PHOTO, "JPEG", progressive=True),
    "JPEG, CMYK": file_of(PHOTO.convert("CMYK"), "JPEG"),
    **{f"PNG, {mode}": file_of(PHOTO.convert(mode), "PNG", exif=exif(3)) for mode in ("RGB", "L", "1", "P")},
    "PNG, RGBA": file_of(GLASS, "PNG", exif=exif(7)),
    "PNG, LA": file_of(GLASS.convert("LA"), "PNG"),
    "PNG, clear value": file_of(PHOTO.convert("L"), "PNG", transparency=77),
    "PNG with text": png_of(PIXELS, chunk(b"tEXt", b"Comment\0nothing")),
    "PNG, 16 bits": png_of(DEEP),
    "PNG, 16 bits, interlaced": png_of(DEEP, interlaced=True),
    "PNG, 16 bits, LA": png_of(DEEP[..., :2]),
    "WebP": file_of(PHOTO, "WEBP", exif=exif(8)),
    "WebP, lossless": file_of(PHOTO, "WEBP", lossless=True),
    "WebP, RGBA": file_of(GLASS, "WEBP"),
    "WebP, animated": file_of(PHOTO, "WEBP", save_all=True, append_images=[PHOTO.rotate(180)]),
}


@pytest.fixture
def in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "IN_PLACE_BYTES", 0)


def test_files_in_memory_work_where_the_service_runs() -> None:
    assert codec.FILES_IN_MEMORY


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("levels", [(0, 65_535), (100, 4095)])
def test_every_kind_comes_out_the_same_in_place(
    kind: str, levels: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = FILES[kind]
    header = read_header(data)

    def every_way() -> list[Picture]:
        wanted = (None, Size(20, 15))
        return [*(decode(data, header, size, levels) for size in wanted), decode_grey(data, header, levels)]

    copied = every_way()
    monkeypatch.setattr(codec, "IN_PLACE_BYTES", 0)
    for one, other in zip(copied, every_way(), strict=True):
        assert np.array_equal(one.pixels, other.pixels)


@pytest.mark.usefixtures("in_place")
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_what_is_cut_short_is_refused_in_place_too(kind: str, share: float) -> None:
    data = FILES[kind]
    try:
        header = read_header(data[: int(len(data) * share)])
    except InvalidImage:
        return
    with pytest.raises(InvalidImage):
        decode(data[: int(len(data) * share)], header)


@pytest.mark.usefixtures("in_place")
def test_what_opencv_does_not_understand_at_all_is_refused() -> None:
    header = read_header(FILES["PNG, RGB"])
    data = bytearray(FILES["PNG, RGB"])
    data[29] ^= 255  # the header's checksum
    with pytest.raises(InvalidImage):
        decode(bytes(data), header)
    with pytest.raises(InvalidImage):
        codec.decoded((b"nothing" * 100,), 1, (45, 61, 3))


@pytest.mark.usefixtures("in_place")
def test_a_size_that_is_not_the_headers_is_refused() -> None:
    with pytest.raises(InvalidImage, match="not of the size"):
        decode(FILES["PNG, RGB"], read_header(file_of(PHOTO.resize((62, 45)), "PNG")))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.integers(0, 10**5), st.integers(0, 255)), max_size=6),
    st.none() | st.floats(0, 1),
)
def test_hostile_files_come_out_the_same_in_place_or_are_refused(
    kind: str, changes: list[tuple[int, int]], cut: float | None
) -> None:
    data = bytearray(FILES[kind])
    for position, value in changes:
        data[position % len(data)] = value
    content = bytes(data if cut is None else data[: int(cut * len(data))])
    try:
        header = read_header(content)
    except RequestError:
        return
    if header.pixels > 10**6:  # the caller's limit
        return
    expected = None
    with contextlib.suppress(RequestError):
        expected = decode(content, header)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "IN_PLACE_BYTES", 0)
        try:
            found = decode(content, header)
        except RequestError:
            return
    if expected is not None:
        assert found.pixels.shape == expected.pixels.shape
