"""The pressure benchmark, in its shortest form, presses the present state and tells what it found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.pressure", "--quick", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_the_present_state_in_short(tmp_path: Path) -> None:
    done = run("--before", "", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "bench-pressure.json").read_text())["states"]
    (fire,) = found["under_fire"]
    assert sum(fire["answers"].values()) == 8
    assert fire["livez_worst_ms"] > 0
    assert fire["peak_mb"] > 50
    assert found["alone_per_second"] > 0
    assert [neighbour["refused"] for neighbour in found["neighbours"]] == [0]
    assert "silent uploads" in (tmp_path / "bench-pressure.md").read_text()


def test_a_commit_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run("--before", "0123456789", "--out", str(tmp_path))
    assert done.returncode != 0
    assert "0123456789" in done.stderr
    assert "Traceback" not in done.stderr
