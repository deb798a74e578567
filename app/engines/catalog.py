"""Which engines there are. Each is imported when it is first wanted: a service on ONNX Runtime must not need torch."""

from pathlib import Path
from typing import get_args

from app.engines import onnx, onnx_cuda, onnx_weights
from app.engines.base import Engine, EngineName, EngineOptions, Precision
from app.engines.devices import Device

NAMES: tuple[EngineName, ...] = get_args(EngineName)


def reading(path: Path) -> EngineName:
    """The engine for a model file where nobody has named one."""
    return "onnx" if path.suffix == ".onnx" else "torch"


def cuda_problem(engine: EngineName) -> str | None:
    """Why this engine cannot use CUDA here, or None where it should be able to.

    Raises `EngineUnavailable` where it is not installed.
    """
    if engine == "openvino":
        return "the engine openvino computes on the CPU"
    if engine == "torch" and (problem := onnx_cuda.driver_problem()) is None:
        from app.engines import pytorch

        return pytorch.cuda_problem()
    return problem if engine == "torch" else onnx.cuda_problem()


def precisions(engine: EngineName, device: Device) -> tuple[Precision, ...]:
    """What this engine can compute in on this device, the fastest first; raises `EngineUnavailable`."""
    if engine == "openvino":
        from app.engines import openvino

        return openvino.precisions(device)
    if engine == "torch":
        from app.engines import pytorch

        return pytorch.precisions(device)
    return onnx.precisions(device, engine)


def open_engine(engine: EngineName, path: Path, options: EngineOptions) -> Engine:
    """Open a model file.

    Raises `EngineUnavailable` where the engine is not installed, `InvalidManifest` where the file is not one that it
    can read, `DeviceUnavailable` where it cannot use the device.
    """
    if path.suffix == ".onnx":
        onnx_weights.refuse_outside(path)
    if engine == "openvino":
        from app.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(path, options)
    if engine == "torch":
        from app.engines.pytorch import TorchEngine

        return TorchEngine(path, options)
    return onnx.OnnxEngine(path, options, engine)
