"""What is found in a reduced JPEG lies where it lies in the picture, whatever its sides and however it is turned."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.vision import image
from app.vision.image import Size, decode, displacement, read_header
from app.vision.preprocessing import InputSpec, Placement, _halved, halvings, prepare, target_size
from tests.vision.pictures import exif, file_of, photograph
from tests.vision.test_decode import STORED

SIZES = [(1024, 576), (1025, 577), (1031, 583), (2049, 1153), (577, 1025)]


def scene(width: int, height: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Bright squares near the corners and in the middle of a dark picture, and their middles [n, 2]."""
    pixels, side = np.full((height, width, 3), 40, np.uint8), 48
    middles = []
    for x in (90, width // 2, width - 90):
        for y in (90, height // 2, height - 90):
            pixels[y - side // 2 : y + side // 2, x - side // 2 : x + side // 2] = 250
            middles.append((x, y))
    return pixels, np.array(middles, np.float32)


def seen(row: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """The middles of the squares in a model's input, as pixels of the original."""
    plane = np.clip((row[0] - 50 / 255) * 255, 0, None)
    _, labels, _, _ = cv2.connectedComponentsWithStats((plane > 60).astype(np.uint8))
    found = []
    for label in range(1, labels.max() + 1):
        ys, xs = np.nonzero(cv2.dilate((labels == label).astype(np.uint8), np.ones((5, 5), np.uint8)))
        weights = plane[ys, xs]
        x, y = np.average(xs + 0.5, weights=weights), np.average(ys + 0.5, weights=weights)
        found.append((x, y, x, y))
    return placement.to_original(np.array(found, np.float32))[:, :2]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("resize", ["letterbox", "stretch", "center_crop"])
def test_a_square_is_where_it_is(size: tuple[int, int], orientation: int, resize: str) -> None:
    pixels, middles = scene(*size)
    upright = Image.fromarray(pixels)
    stored = upright.transpose(STORED[orientation]) if orientation in STORED else upright
    data = file_of(stored, "JPEG", quality=95, exif=exif(orientation))
    spec = InputSpec.model_validate({"size": [160, 160], "resize": resize, "pad": 0})
    header = read_header(data)
    assert header.upright == size
    target = target_size(header.upright, spec)
    assert image.reduction(header, target) > 1
    row = np.zeros(spec.shape, np.float32)
    placement = prepare(decode(data, header, target), spec, row)
    found = seen(row, placement)
    assert len(found) >= (9 if resize != "center_crop" else 3)
    for middle in found:
        nearest = np.abs(middles - middle).max(axis=1).min()
        assert nearest < 0.25 / min(placement.scale_x, placement.scale_y) + 0.35


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_picture_says_where_the_original_begins(orientation: int) -> None:
    left, top = displacement(Size(1001, 603), orientation, 8)
    spare_x, spare_y = 126 - 1001 / 8, 76 - 603 / 8
    assert left in (0.0, spare_x)
    assert top in (0.0, spare_y)
    assert displacement(Size(1001, 603), orientation, 1) == (0.0, 0.0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_a_jpeg_and_a_png_of_one_picture_show_a_model_the_same(
    size: tuple[int, int], orientation: int, resize: str
) -> None:
    shrunk = cv2.resize(photograph(size[0] // 4, size[1] // 4), size, interpolation=cv2.INTER_CUBIC)
    upright = Image.fromarray(shrunk)
    stored = upright.transpose(STORED[orientation]) if orientation in STORED else upright
    spec = InputSpec.model_validate({"size": [160, 160], "resize": resize, "dtype": "uint8"})
    rows, placements = [], []
    for kind, options in (("PNG", {"compress_level": 1}), ("JPEG", {"quality": 97, "subsampling": 0})):
        data = file_of(stored, kind, exif=exif(orientation), **options)
        header = read_header(data)
        rows.append(np.zeros(spec.shape, np.uint8))
        placements.append(prepare(decode(data, header, target_size(header.upright, spec)), spec, rows[-1]))
    if orientation == 1:  # turned, the one is reduced from another edge than the other
        assert placements[0] == placements[1]
    assert np.abs(rows[0].astype(int) - rows[1]).mean() < (1 if orientation == 1 else 4)


@pytest.mark.parametrize("size", [(64, 64), (65, 64), (64, 65), (65, 65), (1001, 3), (3, 1001), (2, 2), (129, 257)])
def test_halving_mixes_whole_pairs_only(size: tuple[int, int]) -> None:
    width, height = size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    for target in halvings(Size(width, height), Size(max(1, width // 3), max(1, height // 3)))[:1]:
        across, down = 1 + (target.width < width), 1 + (target.height < height)
        padded = np.pad(pixels, ((0, height % down), (0, width % across), (0, 0)), "edge").astype(float)
        wanted = padded.reshape(target.height, down, target.width, across, 3).mean(axis=(1, 3))
        assert np.abs(_halved(pixels, target) - wanted).max() <= 1
