"""The demonstration and the queue's benchmark, in their shortest form, lose nothing and double nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.bench.queue_run import make_plan
from app.errors import StartupError

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_demonstration_answers_every_picture_and_dead_letters_what_is_none() -> None:
    text = command("demo", "--pictures", "20")
    assert "20, 0 missing, 0 doubled" in text
    assert "UnsupportedImage" in text


@pytest.mark.slow
def test_chaos_and_throughput_in_short(tmp_path: Path) -> None:
    command("bench-queue", "--quick", "--parts", "throughput,chaos", "--out", str(tmp_path))
    found = json.loads((tmp_path / "bench-queue.json").read_text())
    chaos = found["chaos"]
    assert chaos["distinct_results"] == chaos["sent"]
    assert chaos["dead_letters"] == chaos["dead_letters_that_are_poison"] == chaos["poison"]
    assert chaos["left_over"] == 0
    assert chaos["kills"] == 1
    assert all(rate > 0 for rate in found["throughput"]["queue"])
    assert "queue / HTTP" in (tmp_path / "bench-queue.md").read_text()


def test_parts_that_do_not_exist_are_named() -> None:
    with pytest.raises(StartupError, match="--parts"):
        make_plan("thruput", 1, 100, Path("out"), quick=True)
