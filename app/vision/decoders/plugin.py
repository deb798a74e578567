"""Decoders that somebody else wrote: a function in a package on Python's path, named in the manifest."""

import importlib
import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from app.errors import EngineFailure, InvalidManifest
from app.vision.decoders.base import Array, Candidates, Decoder, class_numbers, corners, refuse_nan, strongest
from app.vision.detection_spec import DetectionSpec
from app.vision.image import Size
from app.vision.tasks import Outputs

log = logging.getLogger(__name__)

Function = Callable[[dict[str, Array], tuple[int, int], float], tuple[Any, Any, Any]]
"""decode(outputs, model_size, threshold) -> boxes, scores, class_ids.

`outputs` are one picture's arrays by the graph's names, without the batch dimension; `model_size` is the input's width
and height in pixels; what scores less than `threshold` may be left out. Returned are boxes [n, 4] as the manifest's
`box_format` and `coordinates` say, scores [n] of 0 to 1, and class numbers [n], the first class being `label_offset`.
It is called from several threads at once.
"""


class PluginDecoder(Decoder):
    """Calls a function `package.module:function`; whatever it raises is a failure of that picture alone."""

    def __init__(self, name: str) -> None:
        """Raises `InvalidManifest` where there is no such function."""
        self._name = name
        module, _, function = name.partition(":")
        try:
            found = getattr(importlib.import_module(module), function)
        except (Exception, SystemExit) as error:  # a module may raise anything while it is imported, and want to exit
            raise InvalidManifest(
                f"decoder: {name} cannot be imported: {type(error).__name__}: {error}. Install its package beside "
                "roo-vision, or put its folder on PYTHONPATH"
            ) from error
        if not callable(found):
            raise InvalidManifest(f"decoder: {name} is no function")
        self._function: Function = found

    def check(self, spec: DetectionSpec, outputs: Outputs, labels: int) -> None:
        """Only that there are labels: what the function makes of the outputs shows when a picture is answered."""
        if not labels:
            raise InvalidManifest("labels: the manifest lists none; name the model's classes in their order")

    def decode(self, spec: DetectionSpec, outputs: Outputs, model_size: Size, threshold: float) -> Candidates:
        """See `Decoder.decode`."""
        try:
            return self._candidates(spec, outputs, model_size, threshold)
        except EngineFailure:
            raise
        except (Exception, SystemExit) as error:  # somebody else's code: its words are for the log, not for the caller
            log.exception("the decoder %s failed", self._name)
            raise EngineFailure("The model's decoder failed on this picture.") from error

    def _candidates(self, spec: DetectionSpec, outputs: Outputs, model_size: Size, threshold: float) -> Candidates:
        found = self._function(dict(outputs), (model_size.width, model_size.height), threshold)
        boxes, scores, numbers = (np.asarray(part) for part in found)
        if boxes.size == 0:
            boxes = boxes.reshape(0, 4)
        count = len(boxes)
        if boxes.shape != (count, 4) or scores.shape != (count,) or numbers.shape != (count,):
            raise ValueError(
                f"it returned boxes {list(boxes.shape)}, scores {list(scores.shape)} and class numbers "
                f"{list(numbers.shape)} instead of [n, 4], [n] and [n]"
            )
        refuse_nan(scores)
        scores = scores.astype(np.float32)
        rows = strongest(scores, threshold, spec.max_candidates)
        class_ids = class_numbers(numbers[rows], spec.label_offset)
        kept = Candidates(corners(boxes[rows], spec, model_size), scores[rows], class_ids, rows)
        return kept.take(np.flatnonzero(class_ids >= 0))
