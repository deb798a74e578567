"""ONNX Runtime: the CPU, and CUDA where it works."""

import logging
from pathlib import Path

import numpy as np

from app.engines.base import Array, TensorSpec
from app.engines.devices import Device
from app.errors import DeviceUnavailable, InvalidManifest
from app.settings import silence_engine_telemetry

silence_engine_telemetry()

import onnxruntime as ort  # noqa: E402  the line above must come first

log = logging.getLogger(__name__)

ort.set_default_logger_severity(3)

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


def cuda_problem() -> str | None:
    """Why ONNX Runtime cannot use CUDA here, or None where it should be able to.

    `get_available_providers` lists CUDA whenever the GPU build is installed, driver or not; whether a session really
    got it is checked again in `OnnxEngine`.
    """
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return "the installed ONNX Runtime is the CPU build (install roo-vision[cuda] instead of roo-vision[cpu])"
    if not Path("/proc/driver/nvidia").exists() and not Path("/dev/nvidia0").exists():
        return "this machine shows no NVIDIA driver or device"
    return None


class OnnxEngine:
    """One session, shared by all lanes: ONNX Runtime's `run` is safe to call from several threads.

    On the CPU the session computes single-threaded in the caller's thread, because the lanes are the parallelism.
    """

    name = "onnx"

    def __init__(self, path: Path, device: Device) -> None:
        """Load the graph.

        Raises `InvalidManifest` where the file is not a usable graph with one input, `DeviceUnavailable` where the
        device was to be CUDA and the session did not get it.
        """
        self.device = device.name
        try:
            self._session = ort.InferenceSession(path, _session_options(device), providers=_providers(device))
        except (
            Exception
        ) as error:  # onnxruntime raises many unrelated types here, all meaning: this file cannot be loaded
            raise InvalidManifest(
                f"{path}: ONNX Runtime {ort.__version__} cannot load this model: {_first_line(error)}. "
                "Check that it is a whole ONNX file with an opset that this version knows."
            ) from error
        self._check_provider(device)
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(node.name for node in inputs)
            raise InvalidManifest(
                f"{path}: the graph must have exactly one input, a picture; it has {len(inputs)}: {names}."
            )
        self.input = _spec(inputs[0], path)
        self.outputs = tuple(_spec(node, path) for node in self._session.get_outputs())
        self._names = [spec.name for spec in self.outputs]

    def run(self, batch: Array) -> dict[str, Array]:
        """Compute one batch; see `Engine.run`."""
        return dict(zip(self._names, self._session.run(self._names, {self.input.name: batch}), strict=True))

    def close(self) -> None:
        """Free the session once no lane computes with it any more."""
        del self._session

    def _check_provider(self, device: Device) -> None:
        got = self._session.get_providers()[0]
        if device.kind == "cuda" and got != "CUDAExecutionProvider":
            raise DeviceUnavailable(
                f"CUDA was found but ONNX Runtime fell back to {got}: the driver or the CUDA libraries do not fit. "
                "onnxruntime-gpu needs CUDA 13, cuDNN 9 and driver 580 or newer; or set ROO_DEVICE=cpu."
            )


def _session_options(device: Device) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = 1
    # A waiting thread pool must not burn the cores that decode pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if device.kind == "cuda" and device.asked != "auto":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _providers(device: Device) -> list[str | tuple[str, dict[str, str]]]:
    if device.kind != "cuda":
        return ["CPUExecutionProvider"]
    ort.preload_dlls()
    # Batch sizes come and go; growing by powers of two would hoard memory.
    cuda = {"device_id": str(device.index), "arena_extend_strategy": "kSameAsRequested"}
    if device.asked != "auto":
        return [("CUDAExecutionProvider", cuda)]
    return [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]


def _spec(node: ort.NodeArg, path: Path) -> TensorSpec:
    if node.type not in _DTYPES:
        raise InvalidManifest(f"{path}: tensor {node.name} is of type {node.type}, which is not served.")
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    return TensorSpec(node.name, np.dtype(_DTYPES[node.type]), shape)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
