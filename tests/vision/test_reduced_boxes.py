"""What is found in a reduced JPEG lies where it lies in the picture, whatever its sides and however it is turned."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.vision import image
from app.vision.image import Size, decode, displacement, read_header
from app.vision.preprocessing import InputSpec, Placement, prepare, target_size
from tests.vision.pictures import exif, file_of
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
