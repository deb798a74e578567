"""PyTorch: exported programs (`.pt2`, torch.export) and TorchScript (`.pt`), on the CPU or on CUDA.

No file is unpickled: an exported program is JSON and tensors, TorchScript a language of its own. A file of weights
alone has no program in it and is refused.
"""

import logging
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from app.engines.base import Array, EngineOptions, Precision, TensorSpec
from app.engines.buckets import bucket, padded_on_device
from app.engines.devices import Device
from app.engines.library_errors import first_line, not_installed
from app.errors import EngineUnavailable, InvalidManifest
from app.host.process import forbid_unpickling

try:
    import torch
except (ImportError, OSError) as error:  # a build for another CUDA fails while it loads its libraries
    raise not_installed("torch", error) from error

log = logging.getLogger(__name__)

Program = Callable[[torch.Tensor], Any]
_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def cuda_problem() -> str | None:
    """Why PyTorch cannot use CUDA here, or None where it can."""
    if torch.version.cuda is None:
        return "the installed PyTorch is a CPU build"
    return None if torch.cuda.is_available() else "PyTorch finds no usable NVIDIA driver or device"


def precisions(device: Device) -> tuple[Precision, ...]:
    """What it can compute in, the fastest first. On a CPU, bf16 is worth it only where the processor computes in it."""
    if device.kind == "cuda":
        return ("fp16", "bf16", "fp32")
    return ("bf16", "fp32") if torch.cpu._is_avx512_bf16_supported() else ("fp32",)


class TorchEngine:
    """A program and, on CUDA, one captured graph for each bucket."""

    name = "torch"

    def __init__(self, path: Path, options: EngineOptions) -> None:
        """Load the program onto the device.

        Raises `InvalidManifest` where the file is no program with one input, `EngineUnavailable` where this PyTorch
        cannot use the device.
        """
        if options.constants:
            raise InvalidManifest(
                f"{path}: the engine torch takes a picture and nothing else; remove input.constants, or export to ONNX."
            )
        self.device = options.device.name
        self.precision = options.precision
        self._options = options
        self._place = _place(options)
        if options.device.kind == "cpu":
            torch.set_num_threads(options.threads)  # of all calls in this process: the lanes are the parallelism
        self._program, self.input, self.outputs = _open(path, self._place)
        captured = options.device.kind == "cuda" and options.graphs
        self._graphs = _Graphs(self._compute, options) if captured else None
        if options.memory_limit is not None and options.device.kind == "cuda":
            total = torch.cuda.get_device_properties(self._place).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, options.memory_limit / total), self._place)

    def run(self, batch: Array) -> dict[str, Array]:
        """Compute one batch; see `Engine.run`."""
        return self.run_on_device(torch.from_numpy(batch))

    def run_on_device(self, batch: torch.Tensor) -> dict[str, Array]:
        """Compute one batch that is on the device; see `TensorEngine.run_on_device`. On the host it is taken too."""
        if self._graphs is not None:
            return self._graphs.run(batch)
        with torch.inference_mode():
            return {name: rows.cpu().numpy() for name, rows in self._compute(batch.to(self._place)).items()}

    def warm_up(self, batch: Array) -> dict[str, Array]:
        """See `Engine.warm_up`; on CUDA it captures the graph of the batch's bucket."""
        return self.run(batch)

    def host_buffer(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
        """See `Engine.host_buffer`; pinned on CUDA."""
        if self._options.device.kind == "cpu":
            return np.zeros(shape, dtype)
        pinned: Array = torch.from_numpy(np.zeros(shape, dtype)).pin_memory(self._place).numpy()
        return pinned

    def close(self) -> None:
        """Free the program, its graphs and what CUDA keeps for them."""
        self._graphs = None
        del self._program
        if self._options.device.kind == "cuda":
            torch.cuda.empty_cache()

    def _compute(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        with _autocast(self.precision, self._place):
            return {name: rows.float() if rows.dtype in _TYPES.values() else rows for name, rows in self._named(images)}

    def _named(self, images: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
        found = self._program(images)
        if isinstance(found, Mapping):
            return [(str(name), rows) for name, rows in found.items()]
        rows = [found] if isinstance(found, torch.Tensor) else list(found)
        names = [spec.name for spec in self.outputs] or [f"output_{place}" for place in range(len(rows))]
        return list(zip(names, rows, strict=True))


class _Graphs:
    """CUDA graphs, one a bucket: the batch is copied in, the kernels are replayed, the outputs are copied out.

    One at a time: the captured graphs share their memory. Lanes decode meanwhile.
    See https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
    """

    def __init__(self, compute: Callable[[torch.Tensor], dict[str, torch.Tensor]], options: EngineOptions) -> None:
        self._compute = compute
        self._most = options.max_batch
        self._place = _place(options)
        self._captured: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor, dict[str, torch.Tensor]]] = {}
        self._lock = threading.Lock()

    def run(self, batch: torch.Tensor) -> dict[str, Array]:
        """The outputs of `batch`, on the host; it may lie there or on the device."""
        size = bucket(len(batch), self._most)
        with self._lock, torch.inference_mode(), torch.cuda.device(self._place):
            if size not in self._captured:
                self._captured[size] = self._capture(padded_on_device(batch, size))
            graph, images, outputs = self._captured[size]
            images[: len(batch)].copy_(batch, non_blocking=True)
            graph.replay()
            fetched = {name: rows[: len(batch)].to("cpu", non_blocking=True) for name, rows in outputs.items()}
            torch.cuda.current_stream().synchronize()
            return {name: rows.numpy() for name, rows in fetched.items()}

    def _capture(self, batch: torch.Tensor) -> tuple[torch.cuda.CUDAGraph, torch.Tensor, dict[str, torch.Tensor]]:
        images = torch.empty_like(batch, device=self._place, memory_format=torch.channels_last).copy_(batch)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # libraries choose their kernels and allocate before the capture, not in it
                self._compute(images)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self._compute(images)
        return graph, images, outputs


def _place(options: EngineOptions) -> torch.device:
    if options.device.kind == "cpu":
        return torch.device("cpu")
    problem = cuda_problem()
    if problem is not None:
        raise EngineUnavailable(f"The engine torch was asked for on {options.device.name}, but {problem}.")
    return torch.device("cuda", options.device.index)


def _autocast(precision: Precision, place: torch.device) -> AbstractContextManager[Any]:
    if precision == "fp32":
        return nullcontext()
    # Weights are cast anew each time: a cache would be freed under a captured graph.
    context: AbstractContextManager[Any] = torch.autocast(place.type, _TYPES[precision], cache_enabled=False)
    return context


def _open(path: Path, place: torch.device) -> tuple[Program, TensorSpec, tuple[TensorSpec, ...]]:
    try:
        return _open_exported(path, place) if path.suffix == ".pt2" else _open_script(path, place)
    except InvalidManifest:
        raise
    except (
        Exception
    ) as error:  # torch raises many unrelated types here, all meaning: this file is not what it should be
        raise InvalidManifest(
            f"{path}: PyTorch {torch.__version__} cannot load this program: {first_line(error)}. A .pt2 file is "
            "written by torch.export.save, a .pt file by torch.jit.save; a file of weights alone is not enough: "
            "`roo-vision models export` makes a program of it."
        ) from error


def _open_exported(path: Path, place: torch.device) -> tuple[Program, TensorSpec, tuple[TensorSpec, ...]]:
    forbid_unpickling()
    program = torch.export.load(path)
    inputs, outputs = program.graph_signature.user_inputs, program.graph_signature.user_outputs
    if len(inputs) != 1:
        raise InvalidManifest(f"{path}: the program must have exactly one input, a picture; it has {len(inputs)}.")
    tensors = {node.name: node.meta.get("val") for node in program.graph.nodes}
    specs = [_spec(str(name), tensors[str(name)]) for name in (*inputs, *outputs)]
    if place.type == "cuda":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, str(place))
    module: Any = program.module()
    _forget_types(module)
    if place.type == "cuda":
        module = module.to(memory_format=torch.channels_last)
    return module, specs[0], tuple(specs[1:])


def _forget_types(module: Any) -> None:
    """Take out the assertions that values have the types of the export: in another precision they do not."""
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)
    module.recompile()


def _open_script(path: Path, place: torch.device) -> tuple[Program, TensorSpec, tuple[TensorSpec, ...]]:
    with warnings.catch_warnings():
        # TorchScript is deprecated in favour of torch.export; whoever has such a file shall still be served.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(path, map_location=place).eval()
    return module, TensorSpec("image", np.dtype(np.float32), (None, None, None, None)), ()


def _spec(name: str, tensor: torch.Tensor) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else None for size in tensor.shape)
    return TensorSpec(name, torch.empty(0, dtype=tensor.dtype).numpy().dtype, shape)
