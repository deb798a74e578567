"""A picture of any size in the network's frame; needs no torch, so that the model can be checked without it."""

import cv2
import numpy as np

from models.shelf.training.arrays import U8

PAD = 114


def letterbox(image: U8, size: tuple[int, int]) -> tuple[U8, float, tuple[int, int]]:
    """Fits a picture into `size` (width, height), aspect kept, centred, padded with grey.

    Returns uint8 [height, width, 3], the scale, and the (x, y) of the picture's corner: x' = x * scale + left.
    """
    height, width = image.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    fit = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (size[0] - fit[0]) // 2, (size[1] - fit[1]) // 2
    boxed = np.full((size[1], size[0], 3), PAD, np.uint8)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    boxed[top : top + fit[1], left : left + fit[0]] = cv2.resize(image, fit, interpolation=method)
    return boxed, scale, (left, top)
