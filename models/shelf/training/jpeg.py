"""JPEG in and out, whole or at the reduced sizes that the format gives for free."""

import cv2
import numpy as np

from models.shelf.training.arrays import U8

_FRAME_HEADERS = (0xC0, 0xC1, 0xC2)
NETWORK_SIDE = 416


def encode(image: U8, quality: int) -> bytes:
    """RGB uint8 [H, W, 3] to JPEG bytes."""
    done, packed = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError("the picture could not be encoded")
    return packed.tobytes()


def decode(packed: bytes, flag: int = cv2.IMREAD_COLOR) -> U8:
    """JPEG bytes to RGB uint8 [H, W, 3]; ValueError if it is no picture."""
    image = cv2.imdecode(np.frombuffer(packed, np.uint8), flag)
    if image is None:
        raise ValueError("not a picture that can be decoded")
    return np.ascontiguousarray(image[..., ::-1], np.uint8)


def decode_scaled(packed: bytes) -> U8:
    """Decoded at half or quarter size within the decoder, where that is still no smaller than the network's input."""
    width = _width(packed)
    if width >= 4 * NETWORK_SIDE:
        return decode(packed, cv2.IMREAD_REDUCED_COLOR_4)
    return decode(packed, cv2.IMREAD_REDUCED_COLOR_2 if width >= 2 * NETWORK_SIDE else cv2.IMREAD_COLOR)


def _width(packed: bytes) -> int:
    """Width in the frame header of a JPEG."""
    at = 2
    while packed[at + 1] not in _FRAME_HEADERS:
        at += 2 + int.from_bytes(packed[at + 2 : at + 4], "big")
    return int.from_bytes(packed[at + 7 : at + 9], "big")
