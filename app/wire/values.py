"""Numbers of a whole picture in an answer: an embedding, and maps."""

from base64 import b64encode
from typing import Any

from pydantic import BaseModel, Field

from app.vision.embedding import Embedding
from app.vision.maps import Maps, Unit
from app.vision.tasks import EmbeddingFormat

_DIGITS = 6


class Vector(BaseModel):
    """A picture as a vector. `values` or `base64` is there, as `format` says; the other is null."""

    dimensions: int
    normalized: bool = Field(description="Whether its length is 1.")
    format: EmbeddingFormat
    values: list[float] | None = Field(None, description="With `json`: the numbers, of seven digits.")
    base64: str | None = Field(
        None, description="With `float32` and `float16`: the numbers, little-endian, one after the other, in base64."
    )


class ValueMap(BaseModel):
    """A number for every place. It is a pixel of `png` times `scale` plus `offset`, in `unit`."""

    label: str
    class_id: int
    unit: Unit = Field(
        description="`relative` distances are larger where it is farther, `inverse` ones where it is nearer; a `score` "
        "is 0 to 1."
    )
    minimum: float
    maximum: float
    scale: float
    offset: float
    png: str = Field(description="A grey PNG of 16 bits in base64.")
    width: int
    height: int
    box: tuple[float, float, float, float] = Field(
        description="Where the map lies: x1, y1, x2, y2 in `coordinates`. Less than the whole picture where the "
        "model's input is cropped; what is outside of it is unknown."
    )


def to_vector(found: Embedding) -> dict[str, Any]:
    """In the shape of `Vector`."""
    as_numbers = found.format == "json"
    return {
        "dimensions": len(found.vector),
        "normalized": found.normalized,
        "format": found.format,
        "values": found.told if as_numbers else None,
        "base64": None if as_numbers else found.told,
    }


def to_maps(found: Maps, box: list[float]) -> list[dict[str, Any]]:
    """Each map in the shape of `ValueMap`; `box` is where they lie, in the answer's coordinates."""
    height, width = found.planes.shape[1:]
    return [
        {
            "label": label,
            "class_id": class_id,
            "unit": found.unit,
            "minimum": _rounded(file.minimum),
            "maximum": _rounded(file.maximum),
            "scale": file.scale,
            "offset": file.offset,
            "png": b64encode(file.png).decode(),
            "width": width,
            "height": height,
            "box": box,
        }
        for label, class_id, file in zip(found.labels, found.class_ids.tolist(), found.files, strict=True)
    ]


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")
