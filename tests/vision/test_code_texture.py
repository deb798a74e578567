"""Edges tell what can be a code from what no reader can read; the readers are sent to the former alone."""

import cv2
import numpy as np
import pytest
import zxingcpp
from numpy.typing import NDArray

from app.vision.barcodes import Reading, read_barcodes
from app.vision.code_texture import Texture, texture
from app.vision.image import Picture, Size
from models.shelf.training.arrays import U8
from models.shelf.training.labels import make_label
from models.shelf.training.legible import read_box
from models.shelf.training.pools import Pools

Pixels = NDArray[np.uint8]


def printed(kind: str, text: str, scale: int = 2) -> Pixels:
    bars = zxingcpp.create_barcode(text, getattr(zxingcpp.BarcodeFormat, kind)).to_image(scale=scale)
    return np.asarray(cv2.copyMakeBorder(np.asarray(bars), *[12] * 4, cv2.BORDER_CONSTANT, value=255), np.uint8)


def seen(pixels: Pixels) -> Texture:
    return texture(pixels, pixels)


@pytest.mark.parametrize(
    ("kind", "text"),
    [("DataMatrix", "1"), ("MicroQRCode", "1"), ("QRCode", "1"), ("Aztec", "1"), ("MaxiCode", "1")],
)
def test_the_smallest_codes_have_modules(kind: str, text: str) -> None:
    assert seen(printed(kind, text)).modules
    assert seen(cv2.bitwise_not(printed(kind, text))).modules
    assert not seen(printed(kind, text)).dark
    assert seen(cv2.bitwise_not(printed(kind, text))).dark


@pytest.mark.parametrize(
    ("kind", "text"),
    [("ITF", "1234"), ("EAN8", "1234567"), ("UPCE", "1234567"), ("Code128", "A"), ("Code39", "A"), ("PDF417", "1")],
)
def test_the_shortest_codes_have_bars(kind: str, text: str) -> None:
    assert seen(printed(kind, text)).bars
    assert seen(np.ascontiguousarray(printed(kind, text).T)).bars


def test_what_holds_no_code_is_told_from_codes() -> None:
    noise = np.random.default_rng(3).normal(0, 3, (80, 120))
    blank = np.full((80, 120), 230.0)
    blank[:6] = 60
    paper = np.asarray(blank + noise, np.uint8)
    far = cv2.GaussianBlur(printed("QRCode", "BX-104-7731"), (0, 0), 4)
    for pixels in (paper, np.full((80, 120), 128, np.uint8), np.asarray(far, np.uint8)):
        assert not seen(pixels).bars
        assert not seen(pixels).modules


def test_a_dark_label_before_a_bright_wall_keeps_its_edges() -> None:
    label = np.asarray(printed("QRCode", "BX-104-7731") * 0.2 + 20, np.uint8)
    wall = cv2.copyMakeBorder(label, *[20] * 4, cv2.BORDER_CONSTANT, value=255)
    assert texture(np.asarray(wall, np.uint8), label).modules


def photographed(artwork: U8, rng: np.random.Generator) -> tuple[U8, NDArray[np.float32]]:
    """A label at a size, an angle and a sharpness as cameras have them, uint8 RGB, and the box around it."""
    height, width = artwork.shape[:2]
    scale = float(rng.uniform(0.25, 0.9))
    side = int(np.hypot(height, width) * scale) + 60
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.normal(0, 6)), scale)
    turn[:, 2] += side / 2 - width / 2, side / 2 - height / 2
    picture = np.full((side, side, 3), rng.integers(60, 180, 3), np.uint8)
    shrunk = cv2.GaussianBlur(artwork, (0, 0), 0.45 / scale)
    cv2.warpAffine(shrunk, turn, (side, side), picture, cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT)
    blurred = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.4, 1.3))).astype(np.float32)
    noisy = np.clip(blurred + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]) @ turn.T
    return noisy, np.array([*corners.min(axis=0), *corners.max(axis=0)], np.float32)


def test_nearly_all_is_read_that_can_be_read_at_any_price() -> None:
    """Of these labels zxing-cpp reads 100 where everything is tried on each, and the service 99: no change may quietly
    lose three of them.
    """
    pools, legible, read = Pools("val"), 0, 0
    for seed in range(160):
        rng = np.random.default_rng(seed)
        picture, box = photographed(make_label(rng, pools, location=seed % 2 == 0).artwork, rng)
        text = read_box(picture, box)
        if text is not None:
            grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
            (codes,) = read_barcodes(Picture(grey, Size(*grey.shape[::-1])), box[None], Reading())
            legible += 1
            read += text in [code.text for code in codes]
    assert legible >= 90
    assert read >= 0.97 * legible
