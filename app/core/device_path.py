"""A lane's batch, decoded and prepared on the GPU that computes it, without a way over the host's memory."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeGuard

from app.core.request import AdmittedRequest, PictureItem
from app.engines.base import Array
from app.engines.failures import Failure, classify
from app.engines.library_errors import first_line
from app.vision import image
from app.vision.plain_jpeg import is_plain
from app.vision.preprocessing import InputSpec, Placement, target_size

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

CHUNK_PIXELS = 32 * 2**20
"""Most pixels that are decoded on the device at once. At up to 18 bytes each while they are prepared that is 600 MB."""

Placed = list[tuple[int, Placement]]
"""For each row, which picture it shows and where in it that lies."""
HostPreparation = Callable[[PictureItem, Array], Placement]


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """What became of a batch's pictures, each of which is named by its place in the batch.

    `rows` is `[n, …input]` on the device and finished; `placed` says what its rows are, which is not the pictures'
    order; `failures` says why the others could not be prepared.
    """

    rows: "torch.Tensor"
    placed: Placed
    failures: list[tuple[int, Exception]]


class DevicePath:
    """Prepares batches for one model on one device. Safe to call from several threads; there, they take turns."""

    def __init__(self, spec: InputSpec, device: "torch.device") -> None:
        """Raises `ImportError` where PyTorch or torchvision is not installed."""
        from app.vision import device_preprocessing

        self._preprocessing = device_preprocessing.DevicePreprocessing(spec, device)
        self._encoded = device_preprocessing.encoded
        self._decode = device_preprocessing.decode
        self._turns = _turns(device)

    def prepare(self, pictures: Sequence[PictureItem], buffer: Array, on_host: HostPreparation) -> PreparedBatch:
        """Prepare pictures into rows on the device.

        What the device cannot decode, or failed to, and what is a part of a picture is prepared by `on_host` into rows
        of `buffer` and copied; so it is the CPU that says which pictures are damaged. Raises only what concerns the
        whole batch: no memory for it, or a device that is lost.
        """
        import torch

        files = {place: item for place, item in enumerate(pictures) if _is_whole(item)}
        chunks = [_Chunk(places, [self._encoded(files[p].request.image) for p in places]) for places in _chunks(files)]
        with self._turns.take():
            rows = self._preprocessing.empty_batch(len(pictures))
            placed = self._prepare_on_device(files, chunks, rows)
        done = {place for place, _ in placed}
        hosted, failures = _prepare_on_host(
            pictures, [p for p in range(len(pictures)) if p not in done], buffer, on_host
        )
        if hosted:
            with self._turns.take():
                copied = torch.from_numpy(buffer[: len(hosted)])
                rows[len(placed) : len(placed) + len(hosted)].copy_(copied, non_blocking=True)
        placed = placed + hosted
        return PreparedBatch(rows[: len(placed)], placed, failures)

    def _prepare_on_device(
        self, pictures: Mapping[int, AdmittedRequest], chunks: list["_Chunk"], rows: "torch.Tensor"
    ) -> Placed:
        placed: Placed = []
        for chunk in chunks:
            try:
                placed += self._prepare_chunk(pictures, chunk, rows[len(placed) :])
            except Exception as error:  # whatever it is, one by one on the CPU will tell whose fault it was
                failure = classify(error)
                if failure is Failure.DEVICE:
                    raise
                level = logging.WARNING if failure is Failure.MEMORY else logging.DEBUG  # damaged pictures are common
                log.log(level, "%d pictures are decoded on the CPU instead: %s", len(chunk.places), first_line(error))
        return placed

    def _prepare_chunk(self, pictures: Mapping[int, AdmittedRequest], chunk: "_Chunk", rows: "torch.Tensor") -> Placed:
        import torch

        self._turns.settle()  # the decoder writes in a stream of its own, into memory that the last chunk has left
        decoded = self._decode(chunk.files, self._preprocessing.device)
        placed: Placed = []
        for _, group in groupby(zip(chunk.places, decoded, strict=True), lambda member: _kind(pictures[member[0]])):
            places, pixels = zip(*group, strict=True)
            header = pictures[places[0]].header
            factor = image.reduction(header, target_size(header.upright, self._preprocessing.spec))
            stacked = torch.stack(pixels)  # raises where one is not of its header's size
            if stacked.shape[1:] != (3, header.size.height, header.size.width):
                raise ValueError(f"pictures of {header.size} were decoded to {tuple(stacked.shape)}")
            out = rows[len(placed) : len(placed) + len(places)]
            placement = self._preprocessing.prepare(stacked, header.orientation, factor, out)
            placed += [(place, placement) for place in places]
        return placed


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Pictures that are decoded in one call: their places in the batch, and their files."""

    places: list[int]
    files: list["torch.Tensor"]


class _Turns:
    """Who uses the device's decoder and the stream for what comes after it: one at a time, whichever model it is for.

    The decoder has one state for the process, and a turn's memory, which is all that decoded pictures ever take, is
    free for the next when it ends.
    """

    def __init__(self, device: "torch.device") -> None:
        import torch

        self._lock = threading.Lock()
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None

    @contextmanager
    def take(self) -> Iterator[None]:
        """Everything that is begun inside is finished at the end, whatever happens."""
        import torch

        with self._lock, torch.inference_mode(), torch.cuda.stream(self._stream) if self._stream else nullcontext():
            try:
                yield
            finally:
                self.settle()

    def settle(self) -> None:
        """Wait for everything that was begun."""
        if self._stream is not None:
            self._stream.synchronize()


@cache
def _turns(device: "torch.device") -> _Turns:
    return _Turns(device)


def _chunks(pictures: Mapping[int, AdmittedRequest]) -> Iterator[list[int]]:
    """The places of those that the device may decode, by size and orientation, in parts that it has memory for."""
    chunk: list[int] = []
    pixels = 0
    for place in sorted(filter(lambda place: _suits(pictures[place]), pictures), key=_by_kind(pictures)):
        if chunk and pixels + pictures[place].header.pixels > CHUNK_PIXELS:
            yield chunk
            chunk, pixels = [], 0
        chunk.append(place)
        pixels += pictures[place].header.pixels
    if chunk:
        yield chunk


def _is_whole(item: PictureItem) -> TypeGuard[AdmittedRequest]:
    return isinstance(item, AdmittedRequest) and item.region is None


def _suits(picture: AdmittedRequest) -> bool:
    return picture.header.pixels <= CHUNK_PIXELS and is_plain(picture.request.image, picture.header)


def _by_kind(pictures: Mapping[int, AdmittedRequest]) -> Callable[[int], tuple[object, int]]:
    return lambda place: _kind(pictures[place])


def _kind(picture: AdmittedRequest) -> Any:
    """What pictures must share to go through the same kernels together."""
    return picture.header.size, picture.header.orientation


def _prepare_on_host(
    pictures: Sequence[PictureItem], places: list[int], buffer: Array, on_host: HostPreparation
) -> tuple[Placed, list[tuple[int, Exception]]]:
    placed: Placed = []
    failures: list[tuple[int, Exception]] = []
    for place in places:
        try:
            placed.append((place, on_host(pictures[place], buffer[len(placed)])))
        except Exception as error:  # any failure here is this picture's alone
            failures.append((place, error))
    return placed, failures
