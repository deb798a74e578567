"""The comparison of engines: real children, and the arithmetic of what is recommended."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.bench import machine
from app.bench.measurements import Spread
from app.bench.sweep_results import Point, SweepResults
from app.cli import cli
from tests.fixtures.models import add_colour_model

FLAT = Spread(1.0, 1.0, 1.0)


def point(engine: str, batch: int, rate: float) -> Point:
    return Point(engine, "fp32", "cpu", batch, Spread(rate, rate, rate), FLAT, FLAT, FLAT, 100.0)


def test_the_fastest_whole_way_is_recommended_with_its_message_count() -> None:
    results = SweepResults(machine.describe(), "m", 1, [point("onnx", 1, 8.0), point("openvino", 4, 10.0)], [])
    found = results.recommendation
    assert (found.engine, found.max_batch, found.per_second) == ("openvino", 4, 10.0)
    assert found.message_count == 10 * (60 - 10 - 15 - 15), "as docs/upgrades.md reckons"
    assert "ROO_ENGINE=openvino" in found.lines[0]


@pytest.mark.slow
def test_the_command_compares_what_is_installed_and_writes_what_it_found(tmp_path: Path) -> None:
    add_colour_model(tmp_path / "models")
    arguments = ["bench", "--engines", "--quick", "--models-dir", str(tmp_path / "models"), "--device", "cpu"]
    done = CliRunner().invoke(cli, [*arguments, "--out", str(tmp_path / "out")], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "recommended: ROO_ENGINE=" in done.output
    assert "left out: tensorrt" in done.output
    found = json.loads((tmp_path / "out" / "sweep.json").read_text())
    points = {(item["engine"], item["precision"], item["batch"]): item for item in found["points"]}
    assert {("onnx", "fp32", 1), ("onnx", "fp32", 2)} <= points.keys()
    assert all(item["whole"]["median"] > 0 and item["network"]["median"] > 0 for item in points.values())
    assert found["recommendation"]["message_count"] >= 1
    assert (tmp_path / "out" / "sweep.png").stat().st_size > 10_000
