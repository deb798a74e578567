"""A model as the lanes see it: a task bound to an engine, in three verbs."""

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from app.core.batch_limit import BatchLimit
from app.core.batch_rows import Rows, one_by_one, together
from app.core.device_path import DevicePath
from app.core.request import AdmittedCrop, AdmittedRequest, AdmittedRow, InferenceRequest, Item, LaneWork, PictureItem
from app.core.working_memory import UNBOUNDED, WorkingMemory
from app.engines.base import Array, Engine, TensorEngine, TensorSpec
from app.engines.buckets import bucket, padded, padded_on_device
from app.engines.devices import Device
from app.engines.library_errors import first_line
from app.errors import EngineFailure, InvalidManifest, InvalidRequest
from app.vision import crops, image, preprocessing
from app.vision.decode_memory import crop_grey_bytes, decode_bytes, grey_bytes
from app.vision.image import ImageHeader, Picture, Size
from app.vision.preprocessing import InputSpec, Placement
from app.vision.region import Region
from app.vision.tasks import AnyTask

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Decoding:
    """Where a model's pictures are decoded and prepared (`cpu` or `cuda:N`), and why there."""

    device: str
    reason: str


_LOADINGS = itertools.count()


class Prepared(NamedTuple):
    """Where a picture came to lie in its row, and how many seconds of that its decoding took; a caller's own row has no
    placement.
    """

    placement: Placement | None
    decode_seconds: float


class Model:
    """prepare (bytes → one row of a batch) · compute (a batch → its outputs) · finish (one row → a prediction).

    `prepare` and `finish` handle one picture and may fail for it alone; `compute` handles a batch. A caller's
    own row is copied by the one, and its outputs left as they are by the other. All may be called from several
    threads. Where there is a `device_path`, it prepares whole batches in the place of `prepare`, for
    `compute_on_device`.
    """

    def __init__(
        self,
        name: str,
        version: str,
        task: AnyTask,
        input_spec: InputSpec | None,
        engines: Sequence[Engine],
        max_batch_size: int,
        device: Device,
        batch_reason: str = "the manifest's",
        memory: WorkingMemory | None = None,
        precision_reason: str = "the manifest's",
        batch_dimension: bool = True,
    ) -> None:
        """`input_spec` is None where the model takes tensors alone. `engines` has one for each GPU, all alike, or one
        for the CPU; `device` is what they are on, and why; `batch_reason` says where the largest batch's size is from;
        `memory` is what decoded pictures may take together with those of other models; `precision_reason` says why the
        engines compute in what they do; without a `batch_dimension` the outputs are those of one picture.
        """
        self.name = name
        self.version = version
        self.loading = next(_LOADINGS)
        """Another for each model that is loaded, of whatever name."""
        self.task = task
        self._input_spec = input_spec
        self.engine = engines[0]
        declared = tuple(size or 1 for size in self.engine.input.shape[1:])
        self.row_shape = input_spec.shape if input_spec is not None else declared
        self.row_dtype = self.engine.input.dtype
        self.row_output_bytes = 0
        self.device = device
        self._engines = tuple(engines)
        self.limit = BatchLimit(max_batch_size, batch_reason)
        self.precision_reason = precision_reason
        self.device_path: DevicePath | None = None
        self.decoding = Decoding("cpu", "nothing else was tried")
        self.memory = memory or WorkingMemory(UNBOUNDED)
        self._spare: list[Array] = []
        self._batch_dimension = batch_dimension

    def __repr__(self) -> str:
        return f"Model({self.name}:{self.version} on {self.engine.name}/{self.device.name} in {self.engine.precision})"

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"

    @property
    def max_batch_size(self) -> int:
        """Most pictures in one batch, now."""
        return self.limit.size

    @property
    def output_rows(self) -> tuple[TensorSpec, ...]:
        """What each output is of one row: without the batch dimension, where the graph's outputs have one."""
        first = 1 if self._batch_dimension else 0
        return tuple(TensorSpec(spec.name, spec.dtype, spec.shape[first:]) for spec in self.engine.outputs)

    @property
    def takes_pictures(self) -> bool:
        """Whether there is a way from a picture to the graph's input."""
        return self._input_spec is not None

    @property
    def input_spec(self) -> InputSpec:
        """How pictures are prepared; raises `InvalidRequest` where the model takes tensors alone."""
        if self._input_spec is None:
            raise InvalidRequest(
                f"The model {self.name} takes no pictures, but tensors, over the Open Inference Protocol: POST to "
                f"/v2/models/{self.name}/infer."
            )
        return self._input_spec

    def empty_batch(self) -> Array:
        """A buffer for the largest batch, `[max_batch_size, …input]`; each lane keeps one."""
        try:
            return self._spare.pop()
        except IndexError:
            return self.engine.host_buffer((self.limit.largest, *self.row_shape), self.row_dtype)

    def give_back(self, buffer: Array) -> None:
        """Let somebody else have what `empty_batch` returned: a GPU's driver is slow to make such memory."""
        self._spare.append(buffer)

    def decode_with(self, path: DevicePath | None, decoding: Decoding) -> None:
        """Prepare batches by `path` from now on, or each picture on the CPU where it is None; and why."""
        self.device_path, self.decoding = path, decoding

    def prepare(self, admitted: PictureItem | AdmittedRow, out: Array) -> Prepared:
        """Decode a picture and write it, resized and normalised, into `out`, one row of a batch; a crop is decoded
        already, a caller's row is copied.

        Waits until there is memory for it. Raises `InvalidImage` where the picture cannot be decoded.
        """
        if isinstance(admitted, AdmittedRow):
            out[...] = admitted.row
            return Prepared(None, 0.0)
        spec = self.input_spec.for_picture(admitted.asked_size)
        if isinstance(admitted, AdmittedCrop):
            with self.memory.hold(admitted.picture.pixels[..., 0].size):  # a large one is halved before it is resized
                return Prepared(preprocessing.prepare(admitted.picture, spec, out), 0.0)
        data, header = admitted.request.image, admitted.header
        target = self._target(header, admitted.region)
        with self.memory.hold(decode_bytes(header, len(data), target, spec.range, spec.has_alpha)):
            started = time.monotonic()
            picture = image.decode(data, header, target, spec.range, spec.has_alpha)
            seconds = time.monotonic() - started
            if admitted.region is not None:
                picture = crops.cut(picture, admitted.region)
            return Prepared(preprocessing.prepare(picture, spec, out), seconds)

    @property
    def has_varying_rows(self) -> bool:
        """Whether the input's size follows the picture's."""
        return self._input_spec is not None and self._input_spec.varying is not None

    def row_shape_of(self, admitted: Item) -> tuple[int, ...]:
        """The shape of this picture's row of a batch: the model's, but where the input's size follows the picture's."""
        if isinstance(admitted, AdmittedRow):
            return self.row_shape
        assert not isinstance(admitted, LaneWork)
        return self.input_spec.for_picture(admitted.asked_size).shape

    def rows_for(self, buffer: Array, admitted: Item) -> Array:
        """The rows that `buffer`, one of `empty_batch` or the beginning of one, has for pictures like this: the same
        number, and the shape that it wants.
        """
        shape = self.row_shape_of(admitted)
        if shape == buffer.shape[1:]:
            return buffer
        rows = len(buffer)
        return buffer.reshape(-1)[: rows * math.prod(shape)].reshape(rows, *shape)

    def prepare_row(self, admitted: PictureItem, out: Array) -> Placement:
        """`prepare` for those who ask only where the picture came to lie."""
        placement = self.prepare(admitted, out).placement
        assert placement is not None
        return placement

    def decoded_pixels(self, header: ImageHeader, region: Region | None = None) -> int:
        """How many pixels `prepare` decodes of a picture, of which a part may be asked about: fewer than it has where a
        JPEG is reduced meanwhile.
        """
        factor = image.reduction(header, self._target(header, region))
        return -(-header.size.width // factor) * -(-header.size.height // factor)

    def working_bytes(self, header: ImageHeader, file_bytes: int, region: Region | None = None) -> int:
        """Most bytes that any step takes at once for a picture of so many bytes, of which a part may be asked about."""
        target = self._target(header, region)
        levels, alpha = self.input_spec.range, self.input_spec.has_alpha
        return max(decode_bytes(header, file_bytes, target, levels, alpha), grey_bytes(header, file_bytes, levels))

    def compute(self, batch: Array, lane: int = 0) -> list[dict[str, Array]]:
        """Run the engine of this lane's GPU on `batch`; returns the output rows of each picture.

        Raises `EngineFailure` where an output's length is not the batch's: rows must never shift to another caller.
        """
        return self._rows_of(batch, self._engines[lane % len(self._engines)].run, padded)

    def compute_on_device(self, batch: "torch.Tensor", lane: int = 0) -> list[dict[str, Array]]:
        """Like `compute`, for a finished batch on the GPU of this lane, whose engine must be a `TensorEngine`."""
        engine = self._engines[lane % len(self._engines)]
        assert isinstance(engine, TensorEngine)
        return self._rows_of(batch, engine.run_on_device, padded_on_device)

    def computed_rows(self, pictures: int) -> int:
        """How many rows the engine computes for so many: more where its batch dimension is fixed, or it has buckets."""
        if fixed := self.engine.input.batch_size:
            return -(-pictures // fixed) * fixed
        return bucket(pictures, self.limit.largest) if self.device.kind == "cuda" else pictures

    def finish(
        self, rows: Mapping[str, Array], placement: Placement | None, admitted: PictureItem | AdmittedRow
    ) -> Any:
        """Turn one picture's output rows into the task's prediction, in pixels of the whole picture; the task may look
        again at the picture, or at the part that was asked about. The outputs of a caller's own row are given as they
        are.
        """
        if isinstance(admitted, AdmittedRow):
            return rows
        assert placement is not None
        return self.complete(self.task.finish(rows, placement, admitted.request.options), admitted)

    def complete(self, prediction: Any, admitted: PictureItem) -> Any:
        """What the task says of a picture, or of the part that is asked about, once it has looked again: in pixels of
        the whole picture.
        """
        request = admitted.request
        with ExitStack() as held:

            def grey() -> Picture:
                if isinstance(admitted, AdmittedCrop):
                    held.enter_context(self.memory.hold(crop_grey_bytes(admitted.picture.pixels.shape)))
                    return crops.grey(admitted.picture)
                taken = grey_bytes(admitted.header, len(request.image), self.input_spec.range)
                held.enter_context(self.memory.hold(taken))
                whole = image.decode_grey(request.image, admitted.header, self.input_spec.range)
                return whole if admitted.region is None else crops.cut(whole, admitted.region)

            prediction = self.task.refine(prediction, grey, request.options)
        region = None if isinstance(admitted, AdmittedCrop) else admitted.region
        return prediction if region is None else self.task.moved(prediction, region, admitted.size)

    def _target(self, header: ImageHeader, region: Region | None) -> Size | None:
        """What a reduced decode must still cover."""
        spec, whole = self.input_spec, header.upright
        if region is None:
            return preprocessing.decoding_target(whole, spec.for_picture(whole))
        return crops.covering(whole, [region], spec)

    def warm_up(self) -> None:
        """Compute every batch size that can occur, check that the task understands the outputs, and answer a picture:
        the first decoding of a process takes several times a later one's.

        Raises `InvalidManifest` where the graph, the manifest's input and its task do not fit each other.
        """
        buffer = self.empty_batch()
        for size in range(1, self.max_batch_size + 1):
            self.warm_up_batch(buffer[:size])
        self._try_to_answer(buffer[:1])
        if self.takes_pictures:
            data = image.specimen()
            image.decode_grey(data, image.read_header(data))
        self.give_back(buffer)

    def warm_up_batch(self, batch: Array) -> None:
        """Compute one batch on every device, as large as a specimen's; raises as `warm_up` does."""
        batch = self.specimen_rows(batch)
        for engine in self._engines:
            rows = self._warm_up_size(engine, batch)[0]
            self._check_outputs(rows)
            self.row_output_bytes = sum(row.nbytes for row in rows.values())

    def specimen_rows(self, buffer: Array) -> Array:
        """`rows_for` the picture that models are tried with."""
        return self.rows_for(buffer, _specimen()) if self.takes_pictures else buffer

    def answer_specimens(self, batch: Array, lane: int = 0) -> None:
        """Answer as many pictures as `batch` has rows, as a lane would; where it takes none, the rows as they are."""
        if not self.takes_pictures:
            self.compute(batch, lane)
            return
        admitted, batch = _specimen(), self.specimen_rows(batch)
        placements = [self.prepare_row(admitted, row) for row in batch]
        for rows, placement in zip(self.compute(batch, lane), placements, strict=True):
            self.finish(rows, placement, admitted)

    def _try_to_answer(self, batch: Array) -> None:
        try:
            self.answer_specimens(batch)
        except EngineFailure as error:
            cause = f" ({first_line(error.__cause__)})" if error.__cause__ else ""
            raise InvalidManifest(f"{self}: a picture cannot be answered: {error}{cause}") from error

    def close(self) -> None:
        """Free the engines."""
        for engine in self._engines:
            engine.close()

    def _warm_up_size(self, engine: Engine, batch: Array) -> list[dict[str, Array]]:
        try:
            return self._rows_of(batch, engine.warm_up, padded)
        except Exception as error:  # whatever an engine raises here means: it cannot compute what the manifest says
            raise InvalidManifest(
                f"{self}: the model fails on a batch of {len(batch)} of shape "
                f"{self.row_shape} and type {self.row_dtype}: {first_line(error)}. "
                f"Check `input` and `batching` in model.yaml; the graph takes {engine.input.shape} "
                f"of {engine.input.dtype}."
            ) from error

    def _rows_of(
        self, batch: Rows, run: Callable[[Rows], dict[str, Array]], pad: Callable[[Rows, int], Rows]
    ) -> list[dict[str, Array]]:
        if not self._batch_dimension:
            return one_by_one(batch, run)
        return together(batch, run, pad, self.engine.input.batch_size)

    def _check_outputs(self, rows: Mapping[str, Array]) -> None:
        try:
            self.task.check(rows)
        except InvalidManifest as error:
            raise InvalidManifest(f"{self}: model.yaml: {error}") from None


def _specimen() -> AdmittedRequest:
    data = image.specimen()
    return AdmittedRequest(InferenceRequest(data, request_id="warm-up"), image.read_header(data))
