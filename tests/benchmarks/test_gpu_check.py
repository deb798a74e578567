"""The check for GPUs, tried on the CPU: its parts, its report when it is cut off, and what it can do without."""

import json
import math
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import distribution, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from benchmarks.gpu_check import LIMIT_SECONDS, Part, order
from benchmarks.gpu_parts import PARTS
from benchmarks.gpu_report import Findings, Report
from benchmarks.gpu_speed import covered
from tests.fixtures.waiting import until

ROOT = Path(__file__).parents[2]
TESTERS = ("pytest", "pytest-asyncio", "hypothesis", "onnx", "pillow")


def check(report: Path, *arguments: str) -> list[str]:
    return ["-m", "benchmarks.gpu_check", "--device", "cpu", "--quick", "--report", str(report), *arguments]


def read(report: Path) -> dict[str, Any]:
    return dict(json.loads(report.read_text()))


def test_the_most_telling_part_is_first_and_each_is_bounded() -> None:
    names = [part.name for part in order(["torch", "onnx"])]
    assert names[:4] == [
        "contract tests",
        "picture path",
        "network against decode, torch",
        "one process's ceiling, torch",
    ]
    assert names[-1] == "other tests"
    assert {part.kind for part in order(["torch"])} == PARTS.keys()
    assert LIMIT_SECONDS <= 300


def carried(site: Path) -> Path:
    """A folder with what docs/gpu.md says is carried, and nothing else: the service's lock, and what tests need."""
    wanted = re.findall(r"^([a-z][\w.-]*)==", (ROOT / "requirements-cpu.lock").read_text(), re.MULTILINE)
    wanted += TESTERS
    for name in wanted:
        needed = [Requirement(line) for line in requires(name) or []] if name not in wanted[: -len(TESTERS)] else []
        wanted += [
            other.name
            for other in needed
            if other.name not in wanted and (other.marker is None or other.marker.evaluate({"extra": ""}))
        ]
    site.mkdir()
    here = {name: distribution(name) for name in set(wanted) - {"colorama"}}  # that one is Windows'
    tops = {found.locate_file(file.parts[0]) for found in here.values() for file in found.files or []}
    for top in map(str, tops):
        if Path(top).name not in ("..", "__pycache__"):
            (site / Path(top).name).symlink_to(top)
    return site


def test_it_runs_with_what_is_carried_alone(tmp_path: Path) -> None:
    """No PyTorch either, here: what is left out is said, and ONNX Runtime is measured."""
    report = tmp_path / "report.json"
    done = subprocess.run(
        [sys._base_executable, *check(report, "--part", "network against decode")],  # type: ignore[attr-defined]
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(carried(tmp_path / "site"))},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = read(report)
    assert found["left_out"] == {"torch": "PyTorch is not installed"}
    assert found["summary"]["done"] == ["network against decode, onnx"]
    speeds = found["parts"]["network against decode, onnx"]
    assert speeds["prepare_on_cpu"].keys() == {"per_second", "p50_ms", "cpu_seconds"}
    assert speeds["network"].keys() == {"1", "4"}
    assert speeds["no_device_path"] == "torch and torchvision not installed"


def test_a_part_that_fails_says_why_and_the_next_goes_on(tmp_path: Path) -> None:
    """Without a GPU no test that needs one can run, which must not look as if all had passed."""
    report = tmp_path / "report.json"
    parts = ("--device", "cuda", "--part", "contract tests", "--part", "picture path")
    done = subprocess.run([sys.executable, *check(report, *parts)], cwd=ROOT, timeout=120, check=False)
    found = read(report)
    assert done.returncode == 1
    assert found["summary"]["failed"] == ["contract tests", "picture path"]
    assert found["parts"]["contract tests"]["why"][-1] == "none of these tests could run here"
    assert found["parts"]["contract tests"]["skipped"] > 0


def test_what_was_found_until_it_was_cut_off_is_in_the_report(tmp_path: Path) -> None:
    report = tmp_path / "report.json"

    def some_have_passed() -> bool:
        return report.exists() and read(report)["parts"]["contract tests"].get("passed", 0) > 0

    with subprocess.Popen([sys.executable, *check(report)], cwd=ROOT, stdout=subprocess.DEVNULL) as running:
        until(some_have_passed, patience=120)
        running.terminate()
        assert running.wait(60) == 128 + signal.SIGTERM
    found = read(report)
    assert found["parts"]["contract tests"]["state"] == "cut off"
    assert found["parts"]["contract tests"]["passed"] > 0
    assert found["summary"]["cut off"] == ["contract tests"]
    assert found["parts"]["picture path"] == {"state": "not begun"}
    assert "other tests" in found["summary"]["not begun"]


def test_a_part_that_takes_too_long_does_not_cost_the_next(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    parts = ("--part", "contract tests", "--part", "other tests")
    done = subprocess.run(
        [sys.executable, *check(report, "--limit", "0.1", *parts)], cwd=ROOT, timeout=120, check=False
    )
    found = read(report)
    assert done.returncode == 1
    assert found["summary"]["cut off"] == ["contract tests", "other tests"]
    assert found["parts"]["other tests"]["why"] == "it took longer than 0.1 s"


def test_a_report_is_whole_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report = Report(path, {"machine": "this"}, ["one", "two"])
    assert read(path)["summary"]["not begun"] == ["one", "two"]
    report.begin("one")
    report.update("one", "running", {"figure": 1})
    assert read(path)["parts"]["one"]["figure"] == 1
    assert read(path)["summary"]["running"] == ["one"]
    report.update("one", "done", {"figure": 2})
    assert read(path)["summary"] == {"done": ["one"], "failed": [], "cut off": [], "running": [], "not begun": ["two"]}
    assert list(tmp_path.iterdir()) == [path]


def test_findings_are_on_disk_when_they_are_noted(tmp_path: Path) -> None:
    findings = Findings(tmp_path / "found.json")
    findings.note(batches={1: 2.0})
    findings.note(best=1, p50_ms=math.nan)
    assert read(tmp_path / "found.json") == {"batches": {"1": 2.0}, "best": 1, "p50_ms": None}


@pytest.mark.parametrize(("spans", "length"), [([], 0.0), ([(0, 2), (1, 3)], 3.0), ([(0, 5), (1, 2), (7, 8)], 6.0)])
def test_what_overlaps_counts_once(spans: list[tuple[float, float]], length: float) -> None:
    assert covered(spans) == length


def test_a_part_names_its_engine() -> None:
    assert Part("picture path").name == "picture path"
    assert Part("network against decode", "onnx").name == "network against decode, onnx"
