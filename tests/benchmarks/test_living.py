"""The benchmark of the living repository runs, loses nothing, and says what it measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_swap_a_shadow_and_a_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.living", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "bench-living.json").read_text())["figures"]
    assert figures["errors"] == 0
    assert all(len(figures[part]) == 1 for part in ("swaps", "shadows", "starts"))
    assert "| idle memory to that with one |" in (tmp_path / "bench-living.md").read_text()
