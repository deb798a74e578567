"""The way of pictures over the device, measured in parts: decoding alone, with preparing, the whole to answers."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.bench.engine_loop import UNREAD
from app.bench.measurements import percentile
from app.core.device_path import DevicePath
from app.core.model import Model
from app.core.request import AdmittedRequest, InferenceRequest
from app.engines.base import Array
from app.vision import image

if TYPE_CHECKING:
    import torch

Part = Literal["decode", "prepare", "whole"]
PARTS: tuple[Part, ...] = ("decode", "prepare", "whole")
THREADS = 4
"""Enough to have one batch decoded, one computed and one read at any moment."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Pictures a second in all threads, and the median of a batch's milliseconds."""

    per_second: float
    p50_ms: float


class DeviceLoop:
    """One model, its pictures prepared on `device`, in threads and without a server."""

    def __init__(self, model: Model, device: "torch.device", files: list[str]) -> None:
        self._model = model
        self.path = DevicePath(model.input_spec, device)
        self._device = device
        self._pictures = [_admitted(Path(file).read_bytes()) for file in files]
        self._parts: dict[Part, Callable[[list[AdmittedRequest], Array, int], None]] = {
            "decode": self._decode,
            "prepare": self._prepare,
            "whole": self._whole,
        }

    def measure(self, part: Part, batch: int, seconds: float, threads: int = THREADS) -> Measured:
        """Do one part over and over; the first batch of each thread does not count."""
        times: list[list[float]] = [[] for _ in range(threads)]
        workers = [
            threading.Thread(target=self._work, args=(part, batch, seconds, lane, times[lane]))
            for lane in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        found = [1e3 * duration for lane in times for duration in lane]
        return Measured(sum(batch * len(lane) / sum(lane) for lane in times if lane), percentile(found, 0.5))

    def _work(self, part: Part, batch: int, seconds: float, lane: int, times: list[float]) -> None:
        buffer, turn = self._model.empty_batch(), lane
        until = None
        while until is None or time.perf_counter() < until or not times:
            pictures = [self._pictures[(turn + place) % len(self._pictures)] for place in range(batch)]
            began = time.perf_counter()
            self._parts[part](pictures, buffer, lane)
            ended = time.perf_counter()
            if until is None:
                until = ended + seconds
            else:
                times.append(ended - began)
            turn += batch
        self._model.give_back(buffer)

    def _decode(self, pictures: list[AdmittedRequest], buffer: Array, lane: int) -> None:
        from app.vision import device_preprocessing

        files = [device_preprocessing.encoded(picture.request.image) for picture in pictures]
        device_preprocessing.decode(files, self._device)

    def _prepare(self, pictures: list[AdmittedRequest], buffer: Array, lane: int) -> None:
        self.path.prepare(pictures, buffer, self._model.prepare_row)

    def _whole(self, pictures: list[AdmittedRequest], buffer: Array, lane: int) -> None:
        prepared = self.path.prepare(pictures, buffer, self._model.prepare_row)
        outputs = self._model.compute_on_device(prepared.rows, lane)
        for (place, placement), rows in zip(prepared.placed, outputs, strict=True):
            self._model.finish(rows, placement, pictures[place])


def _admitted(data: bytes) -> AdmittedRequest:
    return AdmittedRequest(InferenceRequest(data, request_id="", options=UNREAD), image.read_header(data))
