"""Answers that take long to write."""

import threading
from typing import Any

import numpy as np
import pytest
from pydantic_core import from_json

from app.api import replies
from app.core.request import InferenceResult
from app.vision.detection import Detections


class Result:
    """As much of a result as is looked at."""

    chain = None

    def __init__(self, count: int) -> None:
        boxes, scores = np.zeros((count, 4), np.float32), np.zeros(count, np.float32)
        self.prediction = Detections(boxes, scores, np.zeros(count, np.int64), ("box",) * count)


@pytest.mark.parametrize(("count", "elsewhere"), [(10, False), (10_000, True)])
async def test_the_event_loop_does_not_write_very_many_detections(count: int, elsewhere: bool) -> None:
    wrote: list[int] = []

    def shape(result: InferenceResult) -> dict[str, Any]:
        wrote.append(threading.get_ident())
        assert isinstance(result.prediction, Detections)
        return {"detections": result.prediction.scores.tolist()}

    text = await replies._written(shape, Result(count))  # type: ignore[arg-type]
    assert len(from_json(text)["detections"]) == count
    assert (wrote != [threading.get_ident()]) is elsewhere
