"""OpenVINO: ONNX files on a CPU, in bf16 where the processor has it.

One compiled model for each lane, with one stream that computes in as many threads as a lane may use, and not pinned to
cores: the same processor decodes pictures, and pinned lanes of several compiled models end up on the same core
(measured: 139 pictures a second with pinning on two cores, 278 without).
"""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from app.engines import onnx_file
from app.engines.base import Array, EngineOptions, Precision, TensorSpec
from app.engines.constants import Constants, picture_input
from app.engines.devices import Device
from app.engines.library_errors import first_line, not_installed
from app.errors import DeviceUnavailable, InvalidManifest

try:
    import openvino
except (ImportError, OSError) as error:
    raise not_installed("openvino", error) from error

_LAYERS = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


def precisions(device: Device) -> tuple[Precision, ...]:
    """What it can compute in on this machine, the fastest first."""
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("int8", "bf16", "fp32") if "BF16" in capabilities else ("int8", "fp32")


class OpenVinoEngine:
    """As many compiled models as there are lanes; a run takes one that is free, the one used last if possible."""

    name = "openvino"

    def __init__(self, path: Path, options: EngineOptions) -> None:
        """Load and compile the graph.

        Raises `InvalidManifest` where the file is not a usable graph with one input beside those of
        `options.constants`, `DeviceUnavailable` where the device is not the CPU.
        """
        if options.device.kind != "cpu":
            raise DeviceUnavailable(
                "The engine openvino computes on the CPU. Set ROO_DEVICE=cpu, or choose the engine onnx."
            )
        self.device = options.device.name
        self.precision = options.precision
        facts = onnx_file.read(path)
        _refuse_sixteen_bits(path, facts)
        core = openvino.Core()
        if options.cache_dir is not None:
            core.set_property({"CACHE_DIR": str(options.cache_dir / "openvino")})
        try:
            graph = core.read_model(path)
            compiled = [core.compile_model(graph, "CPU", _properties(options)) for _ in range(options.lanes)]
        except RuntimeError as error:
            raise InvalidManifest(
                f"{path}: OpenVINO {openvino.__version__.partition('-')[0]} cannot load this model: "
                f"{_meaning(error)}. Check that it is a whole ONNX file, or choose the engine onnx."
            ) from error
        inputs = [_spec(port) for port in graph.inputs]
        spec = picture_input(inputs, options.constants, path)
        onnx_file.refuse_coupled_batch(path, facts, spec.batch_size)
        self.input = spec.one_by_one() if facts.couples_batch else spec
        self._constants = Constants(inputs, options.constants)
        self.outputs = tuple(_spec(port) for port in graph.outputs)
        self._free: queue.LifoQueue[Any] = queue.LifoQueue()
        self._requests = [model.create_infer_request() for model in compiled]
        for request in self._requests:
            self._free.put(request)

    def run(self, batch: Array) -> dict[str, Array]:
        """Compute one batch; see `Engine.run`."""
        with self._request() as request:
            return self._outputs(request, batch)

    def warm_up(self, batch: Array) -> dict[str, Array]:
        """See `Engine.warm_up`: each lane's compiled model prepares itself for each batch size."""
        outputs = [self._outputs(request, batch) for request in self._requests]
        return outputs[-1]

    def host_buffer(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
        """See `Engine.host_buffer`."""
        return np.zeros(shape, dtype)

    def integer_layers(self) -> tuple[int, int]:
        """See `IntegerEngine.integer_layers`."""
        found = [node.get_rt_info() for node in self._requests[0].get_compiled_model().get_runtime_model().get_ops()]
        layers = [info for info in found if _text(info, "layerType") in _LAYERS]
        return sum(_text(info, "runtimePrecision") in ("u8", "i8") for info in layers), len(layers)

    def close(self) -> None:
        """Free the compiled models."""
        self._requests.clear()
        while not self._free.empty():
            self._free.get_nowait()

    @contextmanager
    def _request(self) -> Iterator[Any]:
        request = self._free.get()
        try:
            yield request
        finally:
            self._free.put(request)

    def _outputs(self, request: Any, batch: Array) -> dict[str, Array]:
        feeds = {self.input.name: batch, **self._constants.of_batch(len(batch))}
        results = request.infer(feeds, share_inputs=True)
        return {spec.name: results[place] for place, spec in enumerate(self.outputs)}


def _properties(options: EngineOptions) -> dict[str, Any]:
    return {
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": options.threads,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": _HINTS[options.precision],
    }


def _refuse_sixteen_bits(path: Path, facts: onnx_file.GraphFacts) -> None:
    """OpenVINO drops such pairs together with the clipping that the quantizer folded into them: wrong, and silently."""
    if facts.sixteen_bits is not None:
        raise InvalidManifest(
            f"{path}: is quantized to {facts.sixteen_bits}, which OpenVINO computes wrongly. Choose the engine onnx "
            "(`engine: onnx` in model.yaml), or quantize to 8 bits."
        )


def _text(info: Any, key: str) -> str:
    return str(info[key].astype(str)) if key in info else ""


def _spec(port: Any) -> TensorSpec:
    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.get_partial_shape())
    return TensorSpec(port.get_any_name(), np.dtype(port.get_element_type().to_dtype()), shape)


def _meaning(error: RuntimeError) -> str:
    """OpenVINO's errors begin with the places in its source; the last line says what it is about."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else first_line(error)
