"""The benchmark of telemetry, in its shortest form, measures every way and exports for real."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.telemetry_run import ALL, EXPORTED, LOCAL, OFF, Found

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_way_answers_and_the_collector_is_sent_all_signals(tmp_path: Path) -> None:
    arguments = ["--rounds", "1", "--seconds", "1", "--concurrency", "4", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks.telemetry_run", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "bench-telemetry.json").read_text())
    assert all(rate > 0 for way in (OFF, LOCAL, EXPORTED, ALL) for rate in found["per_second"][way])
    assert "to off" in (tmp_path / "bench-telemetry.md").read_text()


def test_ratios_are_taken_within_each_round() -> None:
    found = Found({OFF: [100.0, 50.0], LOCAL: [99.0, 50.0], EXPORTED: [97.0, 49.0]}, {})
    assert found.ratios(EXPORTED).median == pytest.approx(0.975)
    assert found.ratios(LOCAL).low == pytest.approx(0.99)
