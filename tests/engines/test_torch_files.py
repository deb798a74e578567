"""What PyTorch is given to read: programs of two kinds, and files that must not be trusted."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from app.engines import catalog
from app.engines.base import EngineOptions
from app.errors import InvalidManifest
from tests.engines.conftest import CPU, need

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def torch_is_there() -> None:
    need("torch")


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_torchscript_is_served_too(tmp_path: Path) -> None:
    from tests.fixtures.programs import save_script

    save_script(tmp_path / "model.pt")
    engine = catalog.open_engine("torch", tmp_path / "model.pt", EngineOptions(CPU))
    batch = np.random.default_rng(0).random((3, 3, 16, 16), np.float32)
    (rows,) = engine.run(batch).values()
    assert np.allclose(rows, batch.mean(axis=(2, 3)), atol=1e-5)


@pytest.mark.parametrize("name", ["model.pt", "model.pt2"])
def test_weights_alone_are_refused_with_the_cure(tmp_path: Path, name: str) -> None:
    from tests.fixtures.programs import save_weights

    save_weights(tmp_path / name)
    with pytest.raises(InvalidManifest, match="a file of weights alone is not enough") as error:
        catalog.open_engine("torch", tmp_path / name, EngineOptions(CPU))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["model.pt", "model.pt2"])
def test_a_pickle_is_not_unpickled(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(InvalidManifest):
        catalog.open_engine("torch", tmp_path / name, EngineOptions(CPU))
    assert not (tmp_path / "sprung").exists()


def test_a_pickle_inside_a_program_is_not_unpickled(tmp_path: Path) -> None:
    import io

    import torch

    from tests.fixtures.programs import save_exported

    save_exported(tmp_path / "good.pt2")
    trap = io.BytesIO()
    torch.save(Trap(tmp_path / "sprung"), trap)
    with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(tmp_path / "model.pt2", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, trap.getvalue() if "sample_inputs" in name else good.read(name))
    with pytest.raises(InvalidManifest, match="cannot load this program"):
        catalog.open_engine("torch", tmp_path / "model.pt2", EngineOptions(CPU))
    assert not (tmp_path / "sprung").exists()


def test_a_program_with_two_inputs(tmp_path: Path) -> None:
    import torch

    class Two(torch.nn.Module):
        def forward(self, image: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            return image + other

    torch.export.save(torch.export.export(Two(), (torch.zeros(1), torch.zeros(1))), tmp_path / "model.pt2")
    with pytest.raises(InvalidManifest, match="must have exactly one input, a picture; it has 2"):
        catalog.open_engine("torch", tmp_path / "model.pt2", EngineOptions(CPU))
