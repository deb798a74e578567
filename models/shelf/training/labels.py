"""Labels with real barcodes (written by zxing-cpp), and papers without one that must not be taken for labels."""

import string
from dataclasses import dataclass

import cv2
import numpy as np
import zxingcpp

from models.shelf.training.arrays import U8, Painter
from models.shelf.training.pools import Pools

LINEAR = ("Code128", "Code39", "ITF", "EAN13")
MATRIX = ("QRCode", "DataMatrix", "PDF417", "Aztec")
_FACE = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, slots=True)
class Label:
    """A printed label: artwork uint8 [h, w, 3] at a few pixels a module, its text and zxing's name of its format."""

    artwork: U8
    text: str
    format: str

    @property
    def aspect(self) -> float:
        """Width over height."""
        return float(self.artwork.shape[1] / self.artwork.shape[0])


def barcode(text: str, symbology: str) -> U8:
    """The bare symbol, one pixel a module in x, uint8 [h, w], 0 for ink and 255 for paper, with its quiet zone."""
    written = zxingcpp.create_barcode(text, getattr(zxingcpp.BarcodeFormat, symbology))
    return np.array(written.to_image(scale=1, add_quiet_zones=True), np.uint8)


def random_text(rng: np.random.Generator, symbology: str, location: bool) -> str:
    """Text that the symbology can carry: a location code such as A-03-12-2, an article number, a GTIN."""
    if symbology == "ITF":
        return "".join(rng.choice(list(string.digits), 2 * int(rng.integers(3, 7))))
    if symbology == "EAN13":
        digits = rng.integers(0, 10, 12)
        check = -int(digits[::2].sum() + 3 * digits[1::2].sum()) % 10
        return "".join(map(str, digits)) + str(check)
    if location:
        aisle = string.ascii_uppercase[int(rng.integers(26))]
        dash = "-" if rng.random() < 0.4 else ""
        return f"{aisle}{rng.integers(1, 60):02d}{dash}{rng.integers(1, 99):02d}{dash}{rng.integers(1, 9)}"
    length = int(rng.integers(5, 9 if symbology in LINEAR else 18))
    return "".join(rng.choice(list(string.ascii_uppercase + string.digits), length))


def make_label(rng: np.random.Generator, pools: Pools, location: bool) -> Label:
    """A location label (wide, large letters) or a carton label (article, address lines, symbol)."""
    kinds = LINEAR if rng.random() < (0.45 if location else 0.4) else MATRIX
    weights = np.array([0.6, 0.15, 0.1, 0.15]) if kinds is LINEAR else np.array([0.5, 0.3, 0.1, 0.1])
    symbology = str(rng.choice(kinds, p=weights))
    text = random_text(rng, symbology, location and symbology not in ("ITF", "EAN13"))
    symbol = _sized(rng, barcode(text, symbology), symbology)
    if rng.random() < 0.7:
        paper = np.array(pools.colour(rng, saturation=(0.0, 0.06), value=(0.86, 1.0)))
    else:
        paper = np.array(pools.colour(rng, (0.02, 0.6), (0.2, 0.75), (0.85, 1.0)))
    artwork = _location(rng, symbol, text) if location else _shipping(rng, symbol, text, symbology in MATRIX)
    if rng.random() < 0.4:
        cv2.rectangle(artwork, (0, 0), (artwork.shape[1] - 1, artwork.shape[0] - 1), 40.0, 3)
    ink = rng.uniform(0, 45)
    tinted = ink + artwork[..., None].astype(np.float32) / 255 * (paper - ink)
    return Label(tinted.astype(np.uint8), text, symbology)


def _sized(rng: np.random.Generator, symbol: U8, symbology: str) -> U8:
    """Three pixels a module; linear symbols get a height of their own."""
    if symbology in LINEAR:
        row = symbol[symbol.shape[0] // 2]
        return np.repeat(np.repeat(row[None], int(row.size * 3 * rng.uniform(0.18, 0.5)), 0), 3, 1)
    return np.repeat(np.repeat(symbol, 4, 0), 4, 1)


def _write(artwork: U8, text: str, box: tuple[int, int, int, int]) -> None:
    """Writes a line of text that fills the box (x, y, width, height)."""
    x, y, width, height = box
    (drawn_width, drawn_height), _ = cv2.getTextSize(text, _FACE, 1.0, 2)
    scale = min(width / drawn_width, height / drawn_height) * 0.9
    cv2.putText(artwork, text, (x, y + int(height * 0.92)), _FACE, scale, 20.0, max(1, int(scale * 2.4)), cv2.LINE_AA)


def _location(rng: np.random.Generator, symbol: U8, text: str) -> U8:
    """Letters beside or above the symbol."""
    height, width = symbol.shape
    pad = int(rng.uniform(8, 20))
    if rng.random() < 0.5:
        letters = int(height * rng.uniform(1.2, 2.4))
        artwork = np.full((height + 2 * pad, width + letters + 3 * pad), 255, np.uint8)
        artwork[pad : pad + height, 2 * pad + letters : 2 * pad + letters + width] = symbol
        _write(artwork, text, (pad, pad + height // 5, letters, height * 3 // 5))
    else:
        letters = int(width * 0.14)
        artwork = np.full((height + letters + 3 * pad, width + 2 * pad), 255, np.uint8)
        artwork[2 * pad + letters : 2 * pad + letters + height, pad : pad + width] = symbol
        _write(artwork, text, (pad, pad, width, letters))
    return artwork


def _shipping(rng: np.random.Generator, symbol: U8, text: str, matrix: bool) -> U8:
    """An address block, rules, a symbol at the bottom or at the side, its text below."""
    height, width = symbol.shape
    pad = int(rng.uniform(8, 24))
    side = int(width * rng.uniform(0.0, 0.7)) if matrix else 0
    above = int(width * rng.uniform(0.05, 0.6)) if rng.random() < 0.6 else 0
    below = int(width * 0.08) if rng.random() < 0.7 else 0
    artwork = np.full((height + above + below + 3 * pad, width + side + 2 * pad), 255, np.uint8)
    top = pad + above
    artwork[top : top + height, pad + side : pad + side + width] = symbol
    if below:
        _write(artwork, text, (pad, top + height + pad // 2, artwork.shape[1] - 2 * pad, below))
    _address(artwork[pad // 2 : top, pad : artwork.shape[1] - pad], rng)
    _address(artwork[top : top + height, pad : pad + max(side - pad, 0)], rng)
    return artwork


def _address(area: U8, rng: np.random.Generator) -> None:
    """Lines of small print and rules."""
    height, width = area.shape
    line = max(8, int(width * rng.uniform(0.05, 0.09)))
    for y in range(0, height - line, int(line * 1.5)):
        length = int(width * rng.uniform(0.3, 1.0))
        if rng.random() < 0.15:
            cv2.rectangle(area, (0, y), (length, y + line), 30.0, -1)
        else:
            word = "".join(rng.choice(list(string.ascii_uppercase + "  "), max(3, length // line)))
            _write(area, word, (0, y, length, line))


def label_painter(label: Label, seed: int, quality: float) -> Painter:
    """Paints a label; `quality` below 1 adds stains, tears and fading."""

    def paint(width: int, height: int) -> U8:
        rng = np.random.default_rng(seed)
        shrink = cv2.INTER_AREA if width < label.artwork.shape[1] else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(label.artwork, (width, height), interpolation=shrink), np.uint8)
        if rng.random() > quality:
            corner = np.array([[0, 0], [width * rng.uniform(0.1, 0.4), 0], [0, height * rng.uniform(0.1, 0.5)]])
            cv2.fillPoly(image, [corner.astype(np.int32)], tuple(rng.uniform(90, 180, 3)), cv2.LINE_AA)
        if rng.random() > quality:
            start, stop = rng.uniform(0, 1, (2, 2)) * (width, height)
            thick = max(1, int(height * rng.uniform(0.02, 0.12)))
            cv2.line(image, start.astype(int).tolist(), stop.astype(int).tolist(), (120.0, 110.0, 100.0), thick)
        return image

    return paint


def sign_painter(rng: np.random.Generator, pools: Pools, seed: int) -> Painter:
    """A paper, sticker or warning sign without a barcode."""
    paper = pools.colour(rng, saturation=(0, 0.9), value=(0.5, 1.0))
    words = ["".join(rng.choice(list(string.ascii_uppercase), rng.integers(2, 9))) for _ in range(3)]

    def paint(width: int, height: int) -> U8:
        draw = np.random.default_rng(seed)
        image = np.full((120, 160), 255, np.uint8)
        if draw.random() < 0.4:
            centre = (80, 60)
            cv2.circle(image, centre, 45, 20.0, 10 if draw.random() < 0.5 else -1, cv2.LINE_AA)
        else:
            for row, word in enumerate(words[: int(draw.integers(1, 4))]):
                _write(image, word, (10, 10 + row * 36, 140, 30))
        tinted = (20 + image[..., None].astype(np.float32) / 255 * (np.array(paper) - 20)).astype(np.uint8)
        return np.asarray(cv2.resize(tinted, (width, height), interpolation=cv2.INTER_AREA), np.uint8)

    return paint
