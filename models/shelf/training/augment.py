"""Batches for training: random scale, place, mirror and colour."""

import cv2
import numpy as np
import torch

from models.shelf.training.arrays import F32, U8
from models.shelf.training.corpus import Corpus
from models.shelf.training.loss import Targets

PAD = 114
SMALLEST = (6.0, 9.0)
"""Shorter and longer side in pixels of what is still learned: somewhat smaller than what is asked for."""
LEAST_LEFT = 0.5
"""Share of an object that must be left on the canvas for it to be learned."""
SCALES = (0.85, 1.45)


def _place(rng: np.random.Generator, shape: tuple[int, ...], size: tuple[int, int]) -> F32:
    """A random scale and place of the picture on the canvas, half the time mirrored: float32 [2, 3]."""
    height, width = shape[:2]
    scale = min(size[0] / width, size[1] / height) * float(np.exp(rng.uniform(*np.log(SCALES))))
    stretch = float(np.exp(rng.normal(0, 0.05)))
    scale_x, scale_y = scale * stretch, scale / stretch
    left = float(rng.uniform(0, 1)) * (size[0] - width * scale_x)
    top = float(rng.uniform(0, 1)) * (size[1] - height * scale_y)
    if rng.random() < 0.5:
        return np.array([[-scale_x, 0, left + width * scale_x], [0, scale_y, top]], np.float32)
    return np.array([[scale_x, 0, left], [0, scale_y, top]], np.float32)


def _recolour(image: U8, rng: np.random.Generator) -> U8:
    """Gain and offset a channel, sometimes the channels in another order or grey."""
    gain = np.exp(rng.normal(0, 0.12)) * np.exp(rng.normal(0, 0.06, 3))
    table = np.arange(256)[:, None] * gain + rng.normal(0, 8)
    coloured = cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8)[None])
    chance = rng.random()
    if chance < 0.1:
        return np.asarray(coloured[..., rng.permutation(3)], np.uint8)
    if chance < 0.15:
        return np.repeat(cv2.cvtColor(coloured, cv2.COLOR_RGB2GRAY)[..., None], 3, 2).astype(np.uint8)
    return np.asarray(coloured, np.uint8)


def augmented(image: U8, objects: F32, rng: np.random.Generator, size: tuple[int, int]) -> tuple[U8, F32]:
    """One training picture uint8 [height, width, 3] and its objects float32 [M, 6]: box, class, ignore."""
    matrix = _place(rng, image.shape, size)
    if abs(matrix[0, 0]) < 0.6:
        image = np.asarray(cv2.blur(image, (2, 2)), np.uint8)
    moved = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderValue=(PAD, PAD, PAD))
    found = objects.copy()
    x = found[:, [0, 2]] * matrix[0, 0] + matrix[0, 2]
    y = found[:, [1, 3]] * matrix[1, 1] + matrix[1, 2]
    whole = np.abs((x[:, 1] - x[:, 0]) * (y[:, 1] - y[:, 0]))
    found[:, 0], found[:, 2] = np.clip(x.min(1), 0, size[0]), np.clip(x.max(1), 0, size[0])
    found[:, 1], found[:, 3] = np.clip(y.min(1), 0, size[1]), np.clip(y.max(1), 0, size[1])
    width, height = found[:, 2] - found[:, 0], found[:, 3] - found[:, 1]
    little = (np.minimum(width, height) < SMALLEST[0]) | (np.maximum(width, height) < SMALLEST[1])
    found[:, 5] = (found[:, 5] > 0) | little | (width * height < LEAST_LEFT * whole)
    return _recolour(np.asarray(moved, np.uint8), rng), found[(width > 1) & (height > 1)]


def batch(
    corpus: Corpus, indices: np.ndarray, rng: np.random.Generator, size: tuple[int, int]
) -> tuple[torch.Tensor, Targets]:
    """Images float32 [B, 3, H, W], channels last, 0 to 1, and their objects."""
    images, rows = [], []
    for number, index in enumerate(indices):
        image, objects = augmented(corpus.picture(int(index)), corpus.objects[int(index)], rng, size)
        images.append(image)
        rows.append(np.concatenate([np.full((len(objects), 1), number, np.float32), objects], 1))
    table = torch.from_numpy(np.concatenate(rows))
    # numpy does this forty times as fast as torch does from bytes in this layout
    pixels = torch.from_numpy(np.multiply(np.stack(images), np.float32(1 / 255))).permute(0, 3, 1, 2)
    return pixels, Targets(table[:, 0].long(), table[:, 5].long(), table[:, 1:5], table[:, 6] > 0)
