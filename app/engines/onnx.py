"""ONNX Runtime: the CPU, and CUDA or TensorRT where they work."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.engines import devices, onnx_cuda, onnx_file, onnx_refusals
from app.engines.base import Array, EngineName, EngineOptions, Precision, TensorSpec
from app.engines.constants import Constants, picture_input
from app.engines.devices import Device
from app.engines.onnx_runs import Runs
from app.engines.onnx_runtime import ort
from app.engines.onnx_tensors import inputs_of, outputs_of
from app.errors import DeviceUnavailable, InvalidManifest

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

ort.set_default_logger_severity(3)


def cuda_problem() -> str | None:
    """Why ONNX Runtime cannot use CUDA here, or None where it should be able to.

    `get_available_providers` lists CUDA whenever the GPU build is installed, driver or not; whether a session really
    got it is checked again in `OnnxEngine`.
    """
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return "the installed ONNX Runtime is the CPU build (install roo-vision[cuda] instead of roo-vision[cpu])"
    return onnx_cuda.driver_problem()


def precisions(device: Device, engine: EngineName) -> tuple[Precision, ...]:
    """What it can compute in, the fastest first. Its CPU and CUDA kernels compute in the graph's own types; those for
    integers are the CPU's.
    """
    if device.kind == "cpu":
        return ("int8", "fp32") if engine == "onnx" else ("fp32",)
    return ("fp16", "fp32") if engine == "tensorrt" else ("fp32",)


def signature(path: Path) -> tuple[list[TensorSpec], tuple[TensorSpec, ...]]:
    """All inputs and outputs of a graph; raises `InvalidManifest` where it cannot be loaded."""
    session = _open(path, EngineOptions(devices.choose("cpu", None)), "onnx", graphs=False)
    return inputs_of(session), outputs_of(session)


class OnnxEngine:
    """One session, shared by all lanes: ONNX Runtime's `run` is safe to call from several threads.

    On the CPU the session computes in the caller's thread, because the lanes are the parallelism; with
    `options.threads` above 1 it takes helpers. On CUDA its kernels are launched as captured graphs where that can be.
    """

    def __init__(self, path: Path, options: EngineOptions, name: EngineName = "onnx") -> None:
        """Load the graph.

        Raises `InvalidManifest` where the file is not a usable graph with one input beside those of
        `options.constants`, `DeviceUnavailable` where the
        device was to be CUDA and the session did not get it.
        """
        self.name: str = name
        self.device = options.device.name
        self.precision = options.precision
        self._options = options
        self._path = path
        graphs = options.graphs and options.device.kind == "cuda" and name == "onnx" and not options.constants
        self._runs = Runs(
            lambda captured: _open(path, options, name, captured),
            lambda session: _describe(session, path, options),
            options,
            graphs,
        )
        self.input, self.outputs = self._runs.input, self._runs.outputs
        self._names = [spec.name for spec in self.outputs]
        self._constants = Constants(inputs_of(self._runs.session), options.constants)
        self._pinned: list[onnx_cuda.Pinned] = []

    def run(self, batch: Array) -> dict[str, Array]:
        """Compute one batch; see `Engine.run`."""
        if self._options.device.kind == "cpu":
            feeds = {self.input.name: batch, **self._constants.of_batch(len(batch))}
            rows = self._runs.session.run(self._names, feeds)
            return dict(zip(self._names, rows, strict=True))
        return self._runs.run(batch)

    def run_on_device(self, batch: "torch.Tensor") -> dict[str, Array]:
        """Compute one batch that is on the device; see `TensorEngine.run_on_device`."""
        return self._runs.run_on_device(batch)

    def warm_up(self, batch: Array) -> dict[str, Array]:
        """See `Engine.warm_up`; all lanes share the session. On CUDA it captures the graph of the batch's bucket."""
        return self.run(batch) if self._options.device.kind == "cpu" else self._runs.warm_up(batch)

    def host_buffer(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
        """See `Engine.host_buffer`; pinned on CUDA."""
        buffer = np.zeros(shape, dtype)
        if self._options.device.kind == "cuda":
            self._pinned.append(onnx_cuda.Pinned(buffer))
        return buffer

    def integer_layers(self) -> tuple[int, int]:
        """See `IntegerEngine.integer_layers`; the graph is optimised once more and written where it can be read."""
        session_options = _session_options(self._options)
        session_options.log_severity_level = 4  # it warns that the file is for this machine only
        with _file_in_memory() as optimised:
            session_options.optimized_model_filepath = str(optimised)
            ort.InferenceSession(self._path, session_options, providers=["CPUExecutionProvider"])
            facts = onnx_file.read(optimised)
        return facts.integer_layers, facts.layers

    def close(self) -> None:
        """Free the session once no lane computes with it any more."""
        for pinned in self._pinned:
            pinned.release()
        self._runs.close()


@contextmanager
def _file_in_memory() -> Iterator[Path]:
    """A file that needs no disk, which a container may have none of; on Linux."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("optimised"), "wb") as file:
            yield Path(f"/proc/self/fd/{file.fileno()}")
        return
    with tempfile.TemporaryDirectory(prefix="roo-optimised-") as scratch:
        yield Path(scratch) / "optimised.onnx"


def _open(path: Path, options: EngineOptions, name: EngineName, graphs: bool) -> ort.InferenceSession:
    providers = _providers(path, options, name, graphs)
    try:
        session = ort.InferenceSession(path, _session_options(options), providers=providers)
    except Exception as error:  # onnxruntime raises many unrelated types here, all meaning: this file cannot be loaded
        raise InvalidManifest(
            f"{path}: ONNX Runtime {ort.__version__} cannot load this model: {onnx_refusals.reason(path, error)}."
        ) from error
    _check_provider(session, providers)
    return session


def _describe(
    session: ort.InferenceSession, path: Path, options: EngineOptions
) -> tuple[TensorSpec, tuple[TensorSpec, ...]]:
    try:
        inputs, outputs = inputs_of(session), outputs_of(session)
    except InvalidManifest as error:
        raise InvalidManifest(f"{path}: {error}") from None
    spec, facts = picture_input(inputs, options.constants, path), onnx_file.read(path)
    onnx_file.refuse_coupled_batch(path, facts, spec.batch_size)
    return spec.one_by_one() if facts.couples_batch else spec, outputs


def _check_provider(session: ort.InferenceSession, providers: list[onnx_cuda.Provider]) -> None:
    wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
    got = session.get_providers()[0]
    if got != wanted:
        raise DeviceUnavailable(
            f"{wanted} was asked for, but ONNX Runtime fell back to {got}: the driver or the libraries do not fit. "
            "onnxruntime-gpu needs CUDA 13, cuDNN 9 and driver 580 or newer, TensorRT its own libraries as well; "
            "or set ROO_DEVICE=cpu."
        )


def _session_options(options: EngineOptions) -> ort.SessionOptions:
    session = ort.SessionOptions()
    session.log_severity_level = 3
    session.inter_op_num_threads = 1
    session.intra_op_num_threads = options.threads
    # A waiting thread pool must not burn the cores that decode pictures.
    session.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if options.device.kind == "cuda" and options.device.asked != "auto":
        session.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return session


def _providers(path: Path, options: EngineOptions, name: EngineName, graphs: bool) -> list[onnx_cuda.Provider]:
    if options.device.kind != "cuda":
        if name == "tensorrt":
            raise DeviceUnavailable("The engine tensorrt computes on a GPU. Set ROO_DEVICE=cuda, or ROO_ENGINE=onnx.")
        return ["CPUExecutionProvider"]
    ort.preload_dlls()
    chain = [onnx_cuda.cuda_provider(options, graphs)]
    if name == "tensorrt":
        if "TensorrtExecutionProvider" not in ort.get_available_providers():
            raise DeviceUnavailable("The engine tensorrt was asked for, but this ONNX Runtime is built without it.")
        chain.insert(0, onnx_cuda.tensorrt_provider(path, options))
    return chain if options.device.asked != "auto" else [*chain, "CPUExecutionProvider"]
