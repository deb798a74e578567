"""`make bench` as a developer starts it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.children import ROOT, started, wait_for_children
from tests.fixtures.models import add_box_model

COMMAND = [sys.executable, "-m", "benchmarks.comparison"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of one model."""
    root = tmp_path_factory.mktemp("models")
    add_box_model(root)
    return root


def test_a_quick_run_measures_all_three(models: Path, tmp_path: Path) -> None:
    options = ["--quick", "--seconds", "1", "--concurrency", "2", "--models-dir", str(models), "--out", str(tmp_path)]
    done = subprocess.run([*COMMAND, *options], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for words in ("plain loop", "naive endpoint", "service", "start to ready", "to plain loop"):
        assert words in done.stdout
    found = json.loads((tmp_path / "bench.json").read_text())
    assert len(found["slices"]) == 2 * 3
    assert found["errors"] == []
    assert all(item["measured"]["pictures"] for item in found["slices"] if item["contender"] != "naive endpoint")
    assert set(found["memory"]) == {"naive endpoint", "service"}
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("module", "options", "words"),
    [
        ("comparison", ["--models-dir", "/nowhere"], "/nowhere"),
        ("comparison", ["--concurrency", "1,none"], "such as 1,8,32"),
        ("queue_run", ["--parts", "thruput"], "--parts"),
        ("telemetry_run", ["--models-dir", "/nowhere"], "/nowhere"),
    ],
)
def test_bad_options_are_one_readable_line(module: str, options: list[str], words: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{module}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_that_is_stopped_leaves_no_process_behind(models: Path, tmp_path: Path) -> None:
    options = ["--quick", "--seconds", "60", "--models-dir", str(models), "--out", str(tmp_path)]
    with started(*COMMAND, *options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as bench:
        children = wait_for_children(bench.pid, 3)
        bench.send_signal(signal.SIGTERM)
        assert bench.wait(30) != 0
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
