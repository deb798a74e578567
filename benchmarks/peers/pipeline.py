"""What every peer does with pictures: the service's own decoding and preprocessing, and a session set as its lanes'.

Runs in the peers' environments, which have what `app.vision` needs and nothing else of the service. The model's path is
in `PEER_MODEL`.
"""

import os
from typing import Any

import numpy as np
import onnxruntime as ort

from app.vision import image, preprocessing
from app.vision.classification import ClassificationSpec, ClassificationTask
from app.vision.input_spec import InputSpec
from app.vision.preprocessing import Placement
from app.vision.tasks import Options
from benchmarks.peers.settings import CLASSES, INPUT, PEER_MODEL

_SPEC = InputSpec(**INPUT)
_TASK = ClassificationTask(ClassificationSpec(), tuple(f"class {number}" for number in range(CLASSES)))


class Pipeline:
    """Pictures in, answers out, on one core."""

    def __init__(self) -> None:
        ort.disable_telemetry_events()
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(os.environ[PEER_MODEL], options, providers=["CPUExecutionProvider"])
        self._buffers: dict[int, Any] = {}
        for size in (1, 2, 3, 4):
            self._session.run(None, {"image": self._buffer(size)})

    def answer(self, pictures: list[bytes]) -> list[dict[str, Any]]:
        """The five best classes of each; the pictures are one batch."""
        batch = self._buffer(len(pictures))
        placements = [_prepare(picture, row) for picture, row in zip(pictures, batch, strict=True)]
        (scores,) = self._session.run(None, {"image": batch})
        return [_finished(row, placement) for row, placement in zip(scores, placements, strict=True)]

    def _buffer(self, size: int) -> Any:
        if size not in self._buffers:
            self._buffers[size] = np.zeros((size, *_SPEC.shape), np.float32)
        return self._buffers[size]


def _prepare(picture: bytes, row: Any) -> Placement:
    header = image.read_header(picture)
    return preprocessing.prepare(
        image.decode(picture, header, preprocessing.target_size(header.upright, _SPEC)), _SPEC, row
    )


def _finished(scores: Any, placement: Placement) -> dict[str, Any]:
    found = _TASK.finish({"scores": scores}, placement, Options())
    rows = zip(found.labels, found.class_ids.tolist(), found.scores.astype(float).round(4).tolist(), strict=True)
    return {"classes": [{"label": label, "class_id": number, "score": score} for label, number, score in rows]}
