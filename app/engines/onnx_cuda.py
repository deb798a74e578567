"""What ONNX Runtime needs on a GPU: its providers' options, pinned host memory, buffers that stay on the device.

Written from ONNX Runtime's documentation of its CUDA and TensorRT providers (https://onnxruntime.ai/docs/execution-providers/).
"""

import ctypes
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.engines.base import Array, EngineOptions, TensorSpec
from app.engines.buckets import bucket, padded, padded_on_device
from app.engines.constants import Constants
from app.engines.onnx_runtime import ort
from app.engines.onnx_tensors import inputs_of

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

Provider = str | tuple[str, dict[str, str]]

_PORTABLE = 1
"""cudaHostRegisterPortable: pinned for every GPU's context."""


def driver_problem() -> str | None:
    """Why this machine has no GPU to offer, or None."""
    if not Path("/proc/driver/nvidia").exists() and not Path("/dev/nvidia0").exists():
        return "this machine shows no NVIDIA driver or device"
    return None


def gpu_count() -> int:
    """GPUs that this process is shown; at least one, so that asking for the first fails with CUDA's own words."""
    return max(1, len([path for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit()]))


def cuda_provider(options: EngineOptions, graphs: bool) -> Provider:
    """The CUDA provider on the options' GPU, so that CUDA graphs can be captured or not."""
    # Batch sizes come and go; growing by powers of two would hoard memory.
    settings = {"device_id": str(options.device.index), "arena_extend_strategy": "kSameAsRequested"}
    if options.memory_limit is not None:
        settings["gpu_mem_limit"] = str(options.memory_limit)
    if graphs:
        settings["enable_cuda_graph"] = "1"
    return "CUDAExecutionProvider", settings


def tensorrt_provider(path: Path, options: EngineOptions) -> Provider:
    """The TensorRT provider, which keeps what it has compiled in a folder of this GPU, this TensorRT and this model."""
    settings = {"device_id": str(options.device.index), "trt_fp16_enable": str(options.precision == "fp16")}
    if options.cache_dir is not None:
        folder = options.cache_dir / "tensorrt" / _gpu_name(options.device.index) / f"ort-{ort.__version__}"
        folder = folder / f"{path.parent.parent.name}-{path.parent.name}-{options.precision}"
        folder.mkdir(parents=True, exist_ok=True)
        settings |= {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": str(folder),
        }
    return "TensorrtExecutionProvider", settings


def _gpu_name(index: int) -> str:
    """The GPU's model, as a folder's name; an engine compiled for another GPU is thereby never looked at."""
    found = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    text = found[index].read_text() if index < len(found) else ""
    model = next((line.partition(":")[2] for line in text.splitlines() if line.startswith("Model:")), "unknown")
    return "-".join(model.split()).lower()


class Pinned:
    """Makes a buffer's pages stay in memory, so that a GPU copies from them by itself and faster.

    Where the CUDA runtime cannot be found or refuses, the buffer stays as it was: slower, not wrong.
    """

    def __init__(self, buffer: Array) -> None:
        self._buffer = buffer
        self._runtime = _cuda_runtime()
        self._registered = False
        if self._runtime is not None:
            pointer, size = ctypes.c_void_p(buffer.ctypes.data), ctypes.c_size_t(buffer.nbytes)
            self._registered = self._runtime.cudaHostRegister(pointer, size, ctypes.c_uint(_PORTABLE)) == 0
        if not self._registered:
            log.info("batches are copied to the GPU from ordinary memory: it could not be pinned")

    def release(self) -> None:
        """Undo it."""
        if self._registered and self._runtime is not None:
            self._runtime.cudaHostUnregister(ctypes.c_void_p(self._buffer.ctypes.data))
            self._registered = False


def _cuda_runtime() -> ctypes.CDLL | None:
    """The CUDA runtime that ONNX Runtime has loaded already."""
    for name in ("libcudart.so.13", "libcudart.so.12", "libcudart.so"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


class Bound:
    """One lane's input on the device, one buffer for each bucket; outputs are fetched to the host by the session."""

    def __init__(
        self, session: ort.InferenceSession, spec: TensorSpec, names: list[str], options: EngineOptions
    ) -> None:
        self._session = session
        self._input = spec
        self._names = names
        self._place = (options.device.kind, options.device.index)
        self._most = options.max_batch
        self._constants = Constants(inputs_of(session), options.constants)
        self._buffers: dict[int, ort.OrtValue] = {}

    def run(self, batch: Array) -> list[Array]:
        """The outputs of `batch` in the graph's order, on the host."""
        size = self._size(len(batch))
        buffer = self._buffer(size, batch)
        buffer.update_inplace(padded(batch, size))
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._input.name, buffer)
        return self._computed(binding, len(batch))

    def run_on_device(self, batch: "torch.Tensor") -> list[Array]:
        """Like `run`, straight from the memory of a tensor on the device."""
        whole = padded_on_device(batch, self._size(len(batch)))
        if whole.is_cuda:  # the session computes in a stream of its own, which knows nothing of PyTorch's
            import torch

            torch.cuda.current_stream(whole.device).synchronize()
        binding = self._session.io_binding()
        element = self._input.dtype.type
        binding.bind_input(self._input.name, *self._place, element, tuple(whole.shape), whole.data_ptr())
        return self._computed(binding, len(batch))

    def _computed(self, binding: ort.IOBinding, count: int) -> list[Array]:
        for name, value in self._constants.of_batch(self._size(count)).items():
            binding.bind_cpu_input(name, value)
        for name in self._names:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        outputs = [np.asarray(rows) for rows in binding.copy_outputs_to_cpu()]
        return outputs if self._size(count) == count else [rows[:count] for rows in outputs]

    def _size(self, count: int) -> int:
        return count if self._input.batch_size is not None else bucket(count, self._most)

    def _buffer(self, size: int, batch: Array) -> ort.OrtValue:
        if size not in self._buffers:
            shape = (size, *batch.shape[1:])
            self._buffers[size] = ort.OrtValue.ortvalue_from_shape_and_type(shape, batch.dtype, *self._place)
        return self._buffers[size]
