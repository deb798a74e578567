"""Lines of text, and what they say, in an answer."""

from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from app.vision.header import Size
from app.vision.text_detection import TextDetection
from app.vision.text_recognition import TextRecognition

_PIXEL_DECIMALS, _SHARE_DECIMALS = 1, 6

Quad = tuple[float, float, float, float, float, float, float, float]


class TextLine(BaseModel):
    """A line of text that was found."""

    score: float = Field(description="0 to 1.")
    polygon: Quad = Field(
        description="x1, y1, … x4, y4 of its corners in `coordinates`, clockwise from the top left one as it is read."
    )


class ReadText(BaseModel):
    """What one line of text says."""

    text: str = Field(description="Empty where there is none, or none that scores enough.")
    score: float = Field(description="0 to 1: the mean of its characters'.")


def to_lines(found: TextDetection, size: Size | None) -> list[dict[str, Any]]:
    """In the shape of `TextLine`, in the order they are read: in pixels or, where the picture's size is given, as
    shares of it.
    """
    points = found.quads.astype(np.float64)
    told = points.round(_PIXEL_DECIMALS) if size is None else (points / size).round(_SHARE_DECIMALS)
    scores = found.scores.astype(float).round(4).tolist()
    return [
        {"score": score, "polygon": polygon}
        for score, polygon in zip(scores, told.reshape(-1, 8).tolist(), strict=True)
    ]


def to_text(found: TextRecognition) -> dict[str, Any]:
    """In the shape of `ReadText`."""
    return {"text": found.text, "score": round(found.score, 4)}
