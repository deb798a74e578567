"""The benchmark of served engines runs, and says what it measured."""

import json
import subprocess
import sys
from pathlib import Path

from tests.fixtures.models import add_box_model


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "benchmarks.served_engines", "--quick", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_each_way_is_served_and_compared_with_the_first(tmp_path: Path) -> None:
    add_box_model(tmp_path / "models")
    places = ["--models-dir", str(tmp_path / "models"), "--out", str(tmp_path / "out")]
    done = run("--ways", "onnx:fp32,onnx:auto", "--concurrency", "2", *places)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "out" / "engines.md").read_text()
    assert "| 2 | onnx:fp32 |" in table
    assert "| 2 | onnx:auto |" in table
    slices = json.loads((tmp_path / "out" / "engines.json").read_text())["slices"]
    assert all(found["errors"] == 0 for way in slices.values() for several in way.values() for found in several)


def test_a_way_that_is_none_is_named(tmp_path: Path) -> None:
    add_box_model(tmp_path / "models")
    done = run("--ways", "onnx", "--models-dir", str(tmp_path / "models"))
    assert done.returncode != 0
    assert "--ways onnx: is not ENGINE:PRECISION, such as onnx:int8." in done.stderr
