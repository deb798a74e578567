"""Lines of text, and what they say, as tensors: one row a picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.engines.base import Array
from app.oip.datatypes import objects
from app.vision.text_detection import TextDetection
from app.vision.text_recognition import TextRecognition

Rows = tuple[str, list[Array], tuple[int, ...], type]
"""A tensor's name, each picture's row, the shape of a row, and the dtype."""


def detected(found: Sequence[TextDetection], normalized: Sequence[Any]) -> list[Rows]:
    """As many places in each row as the picture with the most lines needs, `count` of which are its own. `normalized`
    has a picture's size where its corners are to be shares of it, else None.
    """
    most = max((len(each.scores) for each in found), default=0)
    quads, scores = list[Array](), list[Array]()
    for each, size in zip(found, normalized, strict=True):
        missing = most - len(each.scores)
        corners = each.quads if size is None else each.quads / np.array(size, np.float32)
        quads.append(np.pad(corners, ((0, missing), (0, 0), (0, 0))))
        scores.append(np.pad(each.scores, (0, missing)))
    counts: list[Array] = [np.asarray(len(each.scores)) for each in found]
    return [
        ("quads", quads, (most, 4, 2), np.float32),
        ("scores", scores, (most,), np.float32),
        ("count", counts, (), np.int64),
    ]


def recognized(found: Sequence[TextRecognition]) -> list[Rows]:
    """A text and a score for each picture."""
    texts = list(objects([each.text for each in found], [-1]))
    scores: list[Array] = [np.asarray(each.score) for each in found]
    return [("texts", texts, (), object), ("scores", scores, (), np.float32)]
