"""What an extra brings and is not there is one line that names the extra: in every command, for every library."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.test_add import save_reshaping
from tests.fixtures.models import add_box_model, add_colour_model
from tests.fixtures.pictures import solid

ROOT = Path(__file__).parents[2]
HIDE = """
import os, sys
for name in os.environ["HIDDEN"].split(","):
    sys.modules[name] = None
"""
"""As `sitecustomize`: the interpreter finds those modules no more, nor do its children."""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def without(tmp_path: Path) -> Run:
    """Run `python -m …` where some libraries are not installed; `environment` is added."""
    (tmp_path / "sitecustomize.py").write_text(HIDE)

    def run(hidden: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        known = {**os.environ, "PYTHONPATH": str(tmp_path), "HIDDEN": hidden, "ROO_DEVICE": "cpu"}
        command = [sys.executable, "-m", *arguments]
        everything = {**known, **environment}
        return subprocess.run(
            command, cwd=ROOT, env=everything, capture_output=True, text=True, timeout=120, check=False
        )

    return run


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository whose model comes for every engine."""
    root = tmp_path / "models"
    folder = add_box_model(root)
    (folder / "1" / "model.pt2").write_bytes(b"not read before torch is there")
    return root


def refusal(done: "subprocess.CompletedProcess[str]") -> str:
    """The line on standard error, which must be the only one."""
    assert done.returncode != 0, done.stdout
    (line,) = done.stderr.splitlines()
    assert "Traceback" not in done.stdout
    return line


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["models", "list"], ["models", "check"], ["predict"]])
def test_without_onnx_runtime(without: Run, models: Path, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "a.png").write_bytes(solid((1, 2, 3)))
    given = {"check": [str(models)], "predict": [str(tmp_path / "a.png")]}.get(command[-1], [])
    line = refusal(without("onnxruntime", "app", *command, *given, ROO_MODELS_DIR=str(models)))
    assert line.endswith("pip install 'roo-vision[cpu]', or 'roo-vision[cuda]' where there is a GPU.")


@pytest.mark.parametrize(("engine", "library"), [("torch", "torch"), ("openvino", "openvino")])
def test_without_an_engine_that_was_asked_for(without: Run, models: Path, engine: str, library: str) -> None:
    asked = {"ROO_ENGINE": engine, "ROO_MODELS_DIR": str(models), "ROO_HOST": "127.0.0.1"}
    line = refusal(without(library, "app", "serve", "--port", "0", **asked))
    assert f"pip install 'roo-vision[{engine}]', or choose another engine (ROO_ENGINE, or" in line


@pytest.mark.parametrize("library", ["torch", "torchvision", "torch,torchvision"])
def test_export_without_torch_or_torchvision(without: Run, library: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    line = refusal(without(library, "app", "models", "export", "torchvision:resnet18", "--out", out))
    assert line.endswith("pip install 'roo-vision[torch]'.")
    assert not Path(out).exists()


def test_a_dynamic_batch_without_onnx(without: Run, tmp_path: Path) -> None:
    file = save_reshaping(tmp_path / "a.onnx", 1, [1, 48])
    options = ["--task", "classification", "--dynamic-batch", "--out", str(tmp_path / "out")]
    options += ["--set", "classification.softmax=false", "--set", "classification.score_threshold=0.5"]
    line = refusal(without("onnx", "app", "models", "add", str(file), *options))
    assert line.endswith("pip install 'roo-vision[tools]'.")


def test_quantizing_without_onnx(without: Run, models: Path, tmp_path: Path) -> None:
    options = ["--data", str(tmp_path), "--models-dir", str(models)]
    line = refusal(without("onnx", "app", "models", "quantize", "box", *options))
    assert line.endswith("pip install 'roo-vision[tools]'.")


@pytest.mark.parametrize("options", [["--concurrency", "1"], ["--engines"]])
def test_benchmarks_without_matplotlib_say_so_and_go_on(without: Run, tmp_path: Path, options: list[str]) -> None:
    add_colour_model(tmp_path / "models")
    places = ["--models-dir", str(tmp_path / "models"), "--out", str(tmp_path / "out")]
    done = without("matplotlib", "app", "bench", "--quick", *options, *places, COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert "no plot, which needs matplotlib: pip install 'roo-vision[bench]'" in done.stdout.splitlines()


def test_the_service_is_measured_without_pillow_and_matplotlib(without: Run, models: Path, tmp_path: Path) -> None:
    places = ["--models-dir", str(models), "--out", str(tmp_path / "out")]
    done = without("matplotlib,PIL", "app", "bench", "--quick", "--concurrency", "1", *places)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("hidden", "module", "extra"),
    [
        ("PIL", "benchmarks.comparison", "bench"),
        ("matplotlib", "benchmarks.scaling", "bench"),
        ("matplotlib", "benchmarks.dashboard_picture", "bench"),
        ("torch", "models.shelf.training", "train"),
        ("torch,pycocotools,matplotlib", "models.shelf.training", "train"),
    ],
)
def test_what_the_project_runs_for_itself(without: Run, hidden: str, module: str, extra: str) -> None:
    assert f"pip install 'roo-vision[{extra}]'" in refusal(without(hidden, module))
