"""The benchmark of the protocols, in its shortest form, asks in every way."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.protocols import GRPC, GRPC_AIO, GRPC_TENSORS, LOOP, REST, REST_TENSORS, V1, table

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_way_answers(tmp_path: Path) -> None:
    arguments = ["--rounds", "1", "--seconds", "1", "--concurrency", "4", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks.protocols", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "bench-protocols.json").read_text())["found"]
    assert all(found[way][0]["per_second"] > 0 for way in (V1, REST, GRPC, GRPC_AIO, LOOP, REST_TENSORS, GRPC_TENSORS))
    assert "to its like" in (tmp_path / "bench-protocols.md").read_text()


def test_ratios_are_taken_within_each_round() -> None:
    def rounds(*rates: float) -> list[dict[str, float]]:
        return [{"per_second": rate, "alone_ms": 1000 / rate, "service_ms": 9.0, "client_ms": 0.1} for rate in rates]

    lines = table({V1: rounds(100, 50, 10), REST: rounds(98, 49, 9.8)}, 32)
    assert "| 0.980 (0.98-0.98) | 0.97 |" in lines[-1]
    assert lines[-1].endswith("| 1.020 |")
