"""The queue's benchmark, in its shortest form, loses nothing and doubles nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import StartupError
from benchmarks.queue_run import make_plan

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.queue_run", "--quick", "--before", "", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_chaos_and_losses_in_short(tmp_path: Path) -> None:
    run("--parts", "throughput,cut,restarts,chaos", "--out", str(tmp_path))
    record = json.loads((tmp_path / "bench-queue.json").read_text())
    found = {part: states.get("now") for part, states in record.items()}
    chaos = found["chaos"]
    assert chaos["distinct_results"] == chaos["sent"]
    assert chaos["dead_letters"] == chaos["dead_letters_that_are_poison"] == chaos["poison"]
    assert chaos["refused_in_batches"] == 1
    assert chaos["left_over"] == 0
    assert (chaos["kills"], chaos["restarts"], chaos["breaker_openings"]) == (1, 1, 2)
    assert chaos["abandoned_by_restarts"] == 0
    assert found["restarts"]["deliveries_used"] == 0
    assert len(found["cut"]["longest_gap"]) == len(found["cut"]["computed_twice"]) == 1
    assert all(rate > 0 for rate in found["throughput"]["queue"])
    assert "queue / HTTP" in (tmp_path / "bench-queue.md").read_text()


def test_parts_that_do_not_exist_are_named() -> None:
    with pytest.raises(StartupError, match="--parts"):
        make_plan("thruput", "", 1, 100, Path("out"), quick=True)
