"""An answer's numbers again: of embeddings, and of maps."""

import base64

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidRequest
from app.vision.embedding import Embedding
from app.vision.maps import MapFile, Maps, decode_plane
from app.wire.values import ValueMap, Vector


def numbers_of(vector: Vector) -> NDArray[np.float32]:
    """The numbers float32 [dimensions]; raises `InvalidRequest` where they cannot be read."""
    try:
        if vector.values is not None:
            return np.array(vector.values, np.float32)
        written = base64.b64decode(vector.base64 or "", validate=True)
        return np.frombuffer(written, "<f2" if vector.format == "float16" else "<f4").astype(np.float32)
    except ValueError as error:
        raise InvalidRequest(f"the embedding in the answer cannot be read: {error}") from None


def plane_of(chart: ValueMap) -> NDArray[np.float32]:
    """A map's numbers float32 [height, width]; raises `InvalidRequest` where they cannot be read."""
    try:
        return decode_plane(base64.b64decode(chart.png, validate=True), chart.scale, chart.offset)
    except ValueError as error:
        raise InvalidRequest(f"a map in the answer cannot be read: {error}") from None


def to_embedding(vector: Vector) -> Embedding:
    """As the task gave it."""
    told = vector.base64 if vector.values is None else vector.values
    return Embedding(numbers_of(vector), vector.normalized, vector.format, told or "")


def to_maps(charts: list[ValueMap], pixels: NDArray[np.float32]) -> Maps:
    """As the task gave them; a box's coordinates are in units of so many pixels."""
    x0, y0, x1, y1 = (np.array(charts[0].box) * pixels).tolist()
    return Maps(
        planes=np.stack([plane_of(chart) for chart in charts]),
        unit=charts[0].unit,
        map_box=(x0, y0, x1, y1),
        class_ids=np.array([chart.class_id for chart in charts], np.int64),
        labels=tuple(chart.label for chart in charts),
        files=tuple(
            MapFile(base64.b64decode(chart.png), chart.scale, chart.offset, chart.minimum, chart.maximum)
            for chart in charts
        ),
    )
