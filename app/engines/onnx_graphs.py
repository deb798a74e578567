"""CUDA graphs for ONNX Runtime: a batch's kernels are launched together, from and into memory that never moves.

Its documentation names the conditions (https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html,
`enable_cuda_graph`): every node on the GPU, no control flow, the same shapes and addresses in each run, and no runs
from several threads; the provider keeps what it has captured with the thread that captured it. So there is one graph
for each bucket, numbered by its size (`gpu_graph_id`), and one thread that runs them all.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from app.engines.base import Array, EngineOptions, TensorSpec
from app.engines.buckets import bucket, padded
from app.engines.onnx_runtime import ort

if TYPE_CHECKING:
    import torch

R = TypeVar("R")

_NO_GRAPH = -1
"""As a `gpu_graph_id`: this run is an ordinary one."""
_LOOSE = 1e-2
"""How far a graph's outputs may be from an ordinary run's, relative to the largest: kernels may be chosen anew."""


class CaptureFailed(Exception):
    """A graph was captured and does not compute what the session computes without it."""


class _Fixed:
    """One bucket: its input and outputs on the device, and the run that goes from the one to the others."""

    def __init__(self, graph: int, binding: ort.IOBinding, images: ort.OrtValue, outputs: list[ort.OrtValue]) -> None:
        self.images = images
        self._binding = binding
        self._outputs = outputs
        self._options = _run_options(graph)

    def compute(self, session: ort.InferenceSession, count: int) -> list[Array]:
        """The first `count` rows of every output, on the host, for what `images` holds now."""
        session.run_with_iobinding(self._binding, self._options)
        # On a CPU `numpy` shares the memory that the next run writes into.
        return [output.numpy()[:count].copy() for output in self._outputs]


class Graphs:
    """The captured graphs of one session. May be called from several threads; they take turns."""

    def __init__(
        self, session: ort.InferenceSession, spec: TensorSpec, outputs: tuple[TensorSpec, ...], options: EngineOptions
    ) -> None:
        """`session` must have been opened with `enable_cuda_graph`, where it is on a GPU."""
        self._session = session
        self._input = spec
        self._outputs = outputs
        self._place = (options.device.kind, options.device.index)
        self._most = options.max_batch
        self._fixed: dict[int, _Fixed] = {}
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # Daemon: like a lane, it may be stuck inside the engine, and must not keep the process from exiting.
        threading.Thread(target=self._serve, name="onnx-graphs", daemon=True).start()

    def run(self, batch: Array) -> list[Array]:
        """The outputs of `batch` in the graph's order, on the host; a bucket's first batch captures its graph.

        Raises `CaptureFailed` where that gives other outputs than an ordinary run, and what ONNX Runtime raises.
        """
        return self._in_thread(lambda: self._run(batch))

    def run_on_device(self, batch: "torch.Tensor") -> list[Array]:
        """Like `run`, for a finished batch on the device."""
        return self._in_thread(lambda: self._run_on_device(batch))

    def close(self) -> None:
        """Let go of graphs and buffers, in the thread that they belong to."""
        self._in_thread(self._fixed.clear)
        self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work  # it holds a batch

    def _in_thread(self, work: Callable[[], R]) -> R:
        answer: Future[R] = Future()

        def do() -> None:
            try:
                answer.set_result(work())
            except BaseException as error:  # the caller's, whatever it is: this thread serves the next one
                answer.set_exception(error)

        self._work.put(do)
        return answer.result()

    def _run(self, batch: Array) -> list[Array]:
        fixed = self._bucket(batch)
        fixed.images.update_inplace(padded(batch, fixed.images.shape()[0]))
        return fixed.compute(self._session, len(batch))

    def _run_on_device(self, batch: "torch.Tensor") -> list[Array]:
        import torch

        fixed = self._bucket(batch)
        torch.from_dlpack(fixed.images)[: len(batch)].copy_(batch)
        if batch.is_cuda:  # the graph runs in a stream of ONNX Runtime's own
            torch.cuda.current_stream(batch.device).synchronize()
        return fixed.compute(self._session, len(batch))

    def _bucket(self, batch: Any) -> _Fixed:
        size = self._input.batch_size or bucket(len(batch), self._most)
        if size not in self._fixed:
            self._fixed[size] = self._capture((size, *batch.shape[1:]))
        return self._fixed[size]

    def _capture(self, shape: tuple[int, ...]) -> _Fixed:
        images = self._memory(shape, self._input)
        images.update_inplace(_noise(shape, self._input.dtype))
        ordinary = self._session.io_binding()
        ordinary.bind_ortvalue_input(self._input.name, images)
        for spec in self._outputs:
            ordinary.bind_output(spec.name, "cpu")
        self._session.run_with_iobinding(ordinary, _run_options(_NO_GRAPH))
        expected = [np.asarray(rows) for rows in ordinary.copy_outputs_to_cpu()]
        outputs = [self._memory(rows.shape, spec) for rows, spec in zip(expected, self._outputs, strict=True)]
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._input.name, images)
        for spec, output in zip(self._outputs, outputs, strict=True):
            binding.bind_ortvalue_output(spec.name, output)
        fixed = _Fixed(shape[0], binding, images, outputs)
        fixed.compute(self._session, shape[0])  # captures
        for rows, output in zip(expected, outputs, strict=True):
            output.update_inplace(np.zeros_like(rows))
        _compare(expected, fixed.compute(self._session, shape[0]), self._outputs)  # replays
        return fixed

    def _memory(self, shape: tuple[int, ...], spec: TensorSpec) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_shape_and_type(shape, spec.dtype.type, *self._place)


def _run_options(graph: int) -> ort.RunOptions:
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options


def _noise(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
    random = np.random.default_rng(0)
    if dtype == np.uint8:
        return random.integers(0, 256, shape, np.uint8)
    noise: Array = random.random(shape, np.float32).astype(dtype)
    return noise


def _compare(expected: list[Array], found: list[Array], specs: tuple[TensorSpec, ...]) -> None:
    for left, right, spec in zip(expected, found, specs, strict=True):
        wanted, got = left.astype(np.float64), right.astype(np.float64)
        if not np.allclose(wanted, got, rtol=0, atol=_LOOSE * max(1e-3, float(np.abs(wanted).max(initial=0)))):
            raise CaptureFailed(f"replaying the graph gives another {spec.name} than computing it")
