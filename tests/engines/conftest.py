"""Which engine on which device a contract test runs: all of them, and a reason for each that cannot run here."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.engines import catalog, devices
from app.engines.base import Engine, EngineName, EngineOptions
from app.engines.devices import Device
from tests.fixtures.models import Dimension, save_mean_colour

if TYPE_CHECKING:
    import torch

REQUIRED = bool(os.environ.get("REQUIRE_ENGINES"))
"""Set by `make test-engines`, where a missing library is a failure and not a reason to skip."""


@dataclass(frozen=True)
class Case:
    """One engine on one device."""

    engine: EngineName
    device: Device

    @property
    def file(self) -> str:
        """The name of the model file that this engine reads."""
        return "model.pt2" if self.engine == "torch" else "model.onnx"

    @property
    def torch_device(self) -> str:
        """PyTorch's name of the device."""
        return f"cuda:{self.device.index}" if self.device.kind == "cuda" else "cpu"

    def save(self, folder: Path, batch: Dimension = "batch") -> Path:
        """Write the mean colour's model into `folder`."""
        path = folder / self.file
        if self.engine == "torch":
            from tests.fixtures.programs import save_exported

            save_exported(path, batch)
        else:
            save_mean_colour(path, batch)
        return path

    def open(self, path: Path, **options: object) -> Engine:
        """Open a model file on this case's device."""
        return catalog.open_engine(self.engine, path, EngineOptions(self.device, **options))  # type: ignore[arg-type]


CPU = devices.choose("cpu", None)
GPU = devices.choose("cuda", None)


def _case(engine: EngineName, device: Device) -> object:
    marks = [pytest.mark.gpu] if device.kind == "cuda" else []
    return pytest.param(Case(engine, device), marks=marks, id=f"{engine}-{device.kind}")


CASES = [
    _case("onnx", CPU),
    _case("openvino", CPU),
    _case("torch", CPU),
    _case("onnx", GPU),
    _case("torch", GPU),
    _case("tensorrt", GPU),
]


def need(engine: EngineName) -> None:
    """Skip where this engine's library is not installed, or fail where it must be."""
    library = {"openvino": "openvino", "torch": "torch"}.get(engine)
    if library and not REQUIRED and importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed; `make test-engines` installs it")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def place(request: pytest.FixtureRequest) -> "torch.device":
    """PyTorch's device for pictures: the CPU, or the first GPU."""
    need("torch")
    import torch

    if request.param == "cuda" and (problem := catalog.cuda_problem("torch")):
        pytest.skip(f"needs a GPU: {problem}")
    return torch.device(request.param, 0) if request.param == "cuda" else torch.device("cpu")


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """Every engine on every device that it can run on here."""
    found: Case = request.param
    need(found.engine)
    if found.device.kind == "cuda" and (problem := catalog.cuda_problem(found.engine)):
        pytest.skip(f"needs a GPU: {problem}")
    return found


@pytest.fixture
def opened(case: Case, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Engine]:
    """Opens the mean colour on the case's engine; it is closed after the test."""

    def open_it(batch: Dimension = "batch", **options: object) -> Engine:
        engine = case.open(case.save(tmp_path, batch), **options)
        request.addfinalizer(engine.close)
        return engine

    return open_it
