"""The benchmark of two states of the code runs, and says what it measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_present_state_beside_its_own_commit(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.served_states", "--quick", "--before", "HEAD", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    slices = json.loads((tmp_path / "bench-states.json").read_text())["slices"]
    assert len(slices) == 5
    assert all(
        found["pictures"] > 0 and not found["errors"]
        for states in slices.values()
        for several in states.values()
        for found in several
    )
    assert "| now beside HEAD |" in (tmp_path / "bench-states.md").read_text()
