"""Lanes: the workers of a device. Each takes a batch when it is free and carries it through to its answers.

On a CPU there is one lane per core and each runs its pictures to completion, prepare → compute → finish, in one
thread. That was measured to keep 1.02 to 1.15 of a plain loop's throughput, where a decoding pool feeding one
inference thread kept 0.76 to 0.87.

On a GPU the lanes together are the pipeline: while one decodes, another's batch is computed and a third's is read.
Where a model has a device path, a lane's whole batch is decoded and prepared there at once.
"""

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

import numpy as np

from app.core.batch import Batch, Entry
from app.core.batcher import Batcher
from app.core.capacity import Capacity
from app.core.device_path import DevicePath
from app.core.model import Model
from app.core.request import AdmittedRow, Answer, Item, LaneWork, PictureItem, Priority, Timings
from app.engines.base import Array
from app.engines.failures import Failure, classify
from app.engines.library_errors import first_line
from app.errors import DeadlineExceeded, EngineFailure, RequestError
from app.telemetry import metrics
from app.telemetry.tracing import BatchTrace
from app.vision.preprocessing import Placement

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

Waiter = Entry[Model, Item, Answer]
PictureBatcher = Batcher[Model, Item, Answer]
ModelCapacity = Capacity[Model]
Tensor = Union[Array, "torch.Tensor"]
"""A prepared batch, on the host or on the device."""


@dataclass(frozen=True, slots=True)
class LaneHealth:
    """How many lanes there are meant to be, how many live, and how many were replaced."""

    wanted: int
    alive: int
    restarts: int


@dataclass(slots=True)
class _Row:
    """A prepared picture, or a caller's own row: one row of the batch."""

    waiter: Waiter
    item: PictureItem | AdmittedRow
    placement: Placement | None
    started_at: float
    decode_seconds: float
    prepare_seconds: float


class _Lane:
    """One thread and what it owns."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.thread: threading.Thread | None = None
        self._buffers: dict[Model, Array] = {}

    def buffer(self, model: Model) -> Array:
        """The lane's batch buffer for `model`, made once: fresh memory would be zeroed page by page for every batch."""
        if model not in self._buffers:
            self._buffers[model] = model.empty_batch()
        return self._buffers[model]

    def forget(self, model: Model) -> None:
        """Give up the buffer for a model with which no lane computes any more."""
        self._buffers.pop(model, None)


class Executor:
    """Runs threads, the lanes, that serve one batcher, and tells `capacity` what they take."""

    def __init__(self, batcher: PictureBatcher, capacity: ModelCapacity) -> None:
        self._batcher = batcher
        self._capacity = capacity
        self._lanes: list[_Lane] = []
        self._restarts = 0
        self._closing = False

    def start(self, lanes: int) -> None:
        """Start so many lanes."""
        self._lanes = [_Lane(number) for number in range(lanes)]
        self._capacity.lanes = lanes
        for lane in self._lanes:
            self._start(lane)

    def stop(self, timeout: float) -> bool:
        """Take nothing new, finish what is queued within `timeout` seconds, then refuse the rest; the lanes end.

        True when nothing was refused.
        """
        self._batcher.close()
        finished = self._join(timeout)
        refused = self._batcher.refuse_waiting()
        if refused or not finished:
            log.warning("stopped with %d pictures not started and lanes finished: %s", refused, finished)
        return finished and not refused

    def forget(self, model: Model) -> None:
        """Have no lane keep anything of a model with which none computes any more."""
        for lane in self._lanes:
            lane.forget(model)

    def health(self) -> LaneHealth:
        """What readiness and liveness look at."""
        alive = sum(lane.thread is not None and lane.thread.is_alive() for lane in self._lanes)
        return LaneHealth(len(self._lanes), alive, self._restarts)

    def _join(self, timeout: float) -> bool:
        self._closing = True
        until = time.monotonic() + timeout
        for lane in self._lanes:
            if lane.thread is not None:
                lane.thread.join(max(0.0, until - time.monotonic()))
        return not any(lane.thread is not None and lane.thread.is_alive() for lane in self._lanes)

    def _start(self, lane: _Lane) -> None:
        # Daemon: a lane stuck inside an engine must not keep the process from exiting.
        lane.thread = threading.Thread(target=self._live, args=(lane,), name=f"lane-{lane.number}", daemon=True)
        lane.thread.start()

    def _live(self, lane: _Lane) -> None:
        try:
            self._serve(lane)
        except (
            BaseException
        ):  # whatever kills a lane, it must be seen and the lane replaced; its batch was answered already
            log.critical("lane %d died and is replaced", lane.number, exc_info=True)
            self._restarts += 1
            metrics.lane_restarts.add(1)
            self._capacity.end(lane.number, 0)
            self._batcher.leave()
            if not self._closing:
                self._start(lane)

    def _serve(self, lane: _Lane) -> None:
        while (batch := self._batcher.take()) is not None:
            with batch:
                self._execute(batch, lane)
            # The waiters' requests must not be kept alive by an idle lane.
            del batch

    def _execute(self, batch: Batch[Model, Item, Answer], lane: _Lane) -> None:
        """Carry a batch through to its answers, and then do what of it is not computed: its neighbours do not wait for
        that, and the time that it takes says nothing of the model's pictures.
        """
        model, rows = batch.key, [waiter for waiter in batch.entries if not isinstance(waiter.item, LaneWork)]
        if rows:
            bulk = sum(waiter.priority is Priority.BULK for waiter in rows)
            self._capacity.begin(lane.number, model, len(rows), bulk)
            before = time.thread_time()
            computed = self._infer(model, rows, lane)
            # On a GPU a lane waits for what others compute.
            core_seconds = time.thread_time() - before if model.device.kind == "cpu" else None
            self._capacity.end(lane.number, computed, core_seconds)
        works = [(waiter, waiter.item) for waiter in batch.entries if isinstance(waiter.item, LaneWork)]
        if works:
            self._capacity.begin(lane.number, model, len(works))
            for waiter, work in works:
                _do(model, waiter, work)
            self._capacity.end(lane.number, 0)

    def _infer(self, model: Model, waiters: list[Waiter], lane: _Lane) -> int:
        """Prepare, compute, answer, those alike together; returns how many were computed."""
        computed = 0
        for alike in _alike(model, waiters):
            tensor, rows = self._prepare(model, alike, model.rows_for(lane.buffer(model), alike[0].item))
            if rows:
                self._compute(model, tensor, rows, lane)
            computed += len(rows)
        return computed

    def _prepare(self, model: Model, waiters: list[Waiter], buffer: Array) -> tuple[Tensor, list[_Row]]:
        """Prepare a batch on the device where the model has a way there; else, or if that fails, in the buffer.

        So is a batch with callers' own rows in it: they lie in the host's memory.
        """
        if model.device_path is not None and not any(isinstance(waiter.item, AdmittedRow) for waiter in waiters):
            try:
                return _prepare_on_device(model, model.device_path, waiters, buffer)
            except Exception as error:  # torch raises what it likes; each means that it was the device's fault
                self._learn(model, error, len(waiters))
                log.warning(
                    "preparing %d of %s on %s failed: %s", len(waiters), model, model.device.name, first_line(error)
                )
        return _prepare_on_host(model, waiters, buffer)

    def _compute(self, model: Model, tensor: Tensor, rows: list[_Row], lane: _Lane) -> None:
        """Compute a batch; one that fails is split until only the culprit fails."""
        started = time.monotonic()
        compute = model.compute if isinstance(tensor, np.ndarray) else model.compute_on_device
        try:
            outputs = compute(tensor, lane.number)
        except Exception as error:  # engines raise what they like; each means that this batch failed
            self._learn(model, error, len(rows))
            if len(rows) == 1:
                rows[0].waiter.fail(_public(error, rows[0].waiter, "computing"))
                return
            log.warning("a batch of %d failed on %s; splitting it: %s", len(rows), model, type(error).__name__)
            half = len(rows) // 2
            self._compute(model, tensor[:half], rows[:half], lane)
            self._compute(model, tensor[half:], rows[half:], lane)
            return
        _answer(model, rows, outputs, started)

    def _learn(self, model: Model, error: Exception, size: int) -> None:
        """Smaller batches where memory was short; where the device is lost, say so in liveness."""
        failure = classify(error)
        if failure is Failure.MEMORY:
            metrics.out_of_memory.add(1, (model.name, model.version))
            model.limit.lower(size)
            log.warning("no memory for a batch of %d on %s; at most %d now", size, model, model.max_batch_size)
        elif failure is Failure.DEVICE and self._capacity.device_failure is None:
            self._capacity.lose_device(first_line(error))
            log.critical("the device of %s is lost, only a restart helps: %s", model, first_line(error))


def _alike(model: Model, waiters: list[Waiter]) -> list[list[Waiter]]:
    """Those whose rows have one shape, together: all, but where the input's size follows the picture's."""
    if not model.has_varying_rows:
        return [waiters]
    groups: dict[tuple[int, ...], list[Waiter]] = {}
    for waiter in waiters:
        groups.setdefault(model.row_shape_of(waiter.item), []).append(waiter)
    return list(groups.values())


def _prepare_on_host(model: Model, waiters: list[Waiter], buffer: Array) -> tuple[Array, list[_Row]]:
    rows: list[_Row] = []
    for waiter in waiters:
        row = _prepare(model, waiter, buffer[len(rows)])
        if row is not None:
            rows.append(row)
    return buffer[: len(rows)], rows


def _prepare_on_device(
    model: Model, path: DevicePath, waiters: list[Waiter], buffer: Array
) -> tuple["torch.Tensor", list[_Row]]:
    """Prepare all at once; each picture's preparation is the whole batch's, because it waited for all of it. Decoding
    is part of it: the device does both in one go.
    """
    started = time.monotonic()
    there = [waiter for waiter in waiters if _in_time(waiter, started)]
    pictures = [waiter.item for waiter in there if isinstance(waiter.item, PictureItem)]
    prepared = path.prepare(pictures, buffer, model.prepare_row)
    seconds = time.monotonic() - started
    for place, error in prepared.failures:
        there[place].fail(_public(error, there[place], "preparing"))
    return prepared.rows, [
        _Row(there[place], pictures[place], placement, started, 0.0, seconds) for place, placement in prepared.placed
    ]


def _in_time(waiter: Waiter, now: float) -> bool:
    """Whether the answer can still be of use; a waiter for whom it cannot is answered here."""
    late = waiter.deadline is not None and now >= waiter.deadline.at
    if late:
        waiter.fail(DeadlineExceeded("The deadline passed while the picture waited for its neighbours' decoding."))
    return not late


def _prepare(model: Model, waiter: Waiter, out: Array) -> _Row | None:
    """Prepare one picture; one that cannot be, or is too late, is answered here and leaves the batch."""
    started, item = time.monotonic(), waiter.item
    assert not isinstance(item, LaneWork)
    if not _in_time(waiter, started):
        return None
    try:
        placement, decoding = model.prepare(item, out)
    except Exception as error:  # any failure here is this picture's alone
        waiter.fail(_public(error, waiter, "preparing"))
        return None
    return _Row(waiter, item, placement, started, decoding, time.monotonic() - started - decoding)


def _answer(model: Model, rows: list[_Row], outputs: list[dict[str, Array]], started: float) -> None:
    seconds = time.monotonic() - started
    labels = (model.name, model.version)
    metrics.batch_size.record(len(rows), labels)
    metrics.batch_fill.record(len(rows) / model.max_batch_size, labels)
    model.limit.note_fitted(len(rows))
    # Of a picture's crops many may be in one batch.
    members = {row.item.trace.span_id: row.item.trace for row in rows if row.item.trace is not None}
    bucket, traces = model.computed_rows(len(rows)), tuple(members.values())
    batch = BatchTrace(model.name, model.version, len(rows), bucket, started, seconds, traces)
    for row, output in zip(rows, outputs, strict=True):
        _finish(model, row, output, batch)


def _finish(model: Model, row: _Row, output: dict[str, Array], batch: BatchTrace) -> None:
    started = time.monotonic()
    try:
        prediction = model.finish(output, row.placement, row.item)
    except Exception as error:  # any failure here is this picture's alone
        row.waiter.fail(_public(error, row.waiter, "reading the outputs for"))
        return
    ended = time.monotonic()
    timings = Timings(
        queue=row.started_at - row.waiter.enqueued_at,
        decode=row.decode_seconds,
        prepare=row.prepare_seconds,
        compute=batch.seconds,
        finish=ended - started,
    )
    queued_at = row.waiter.enqueued_at
    size = None if isinstance(row.item, AdmittedRow) else row.item.size
    row.waiter.answer(Answer(prediction, size, batch.size, timings, batch, queued_at, ended))


def _do(model: Model, waiter: Waiter, work: LaneWork) -> None:
    """Do what is not computed, and answer its waiter."""
    started = time.monotonic()
    if not _in_time(waiter, started):
        return
    try:
        done = work.run()
    except Exception as error:  # any failure here is this request's alone
        waiter.fail(_public(error, waiter, "working on the pixels of"))
        return
    ended, queued_at = time.monotonic(), waiter.enqueued_at
    timings = Timings(started - queued_at, 0.0, prepare=ended - started, compute=0.0, finish=0.0)
    nothing = BatchTrace(model.name, model.version, 0, 0, started, 0.0, ())
    waiter.answer(Answer(done, None, 0, timings, nothing, queued_at, ended))


def _public(error: Exception, waiter: Waiter, doing: str) -> RequestError:
    """An error for the caller: ours as it is, any other as neutral text, with its traceback in the log."""
    if isinstance(error, RequestError) and not isinstance(error, EngineFailure):
        return error.with_traceback(None)  # it would lead to a frame that holds the waiter, which will hold the error
    log.error("failed while %s request %s", doing, waiter.item.request.request_id, exc_info=error)
    what = "row of the input" if isinstance(waiter.item, AdmittedRow) else "picture"
    return EngineFailure(f"The model failed on this {what}. The service has logged why; trying again may help.")
