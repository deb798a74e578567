"""JPEG in and out."""

import cv2
import numpy as np

from models.shelf.training.arrays import U8


def encode(image: U8, quality: int) -> bytes:
    """RGB uint8 [H, W, 3] to JPEG bytes."""
    done, packed = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError("the picture could not be encoded")
    return packed.tobytes()


def decode(packed: bytes) -> U8:
    """JPEG bytes to RGB uint8 [H, W, 3]; ValueError if it is no picture."""
    image = cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError("not a picture that can be decoded")
    return np.asarray(image, np.uint8)
