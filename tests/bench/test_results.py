"""Targets and their verdicts, and what is written."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from app.bench import plot, tables, targets
from app.bench.machine import describe
from app.bench.measurements import SERVICE, Slice
from app.bench.results import Memory, Results
from app.bench.soak import Sample, Soak
from tests.bench.slices import NAIVE, PLAIN, slice_of


def results(**changes: Any) -> Results:
    """Three rounds in which every target is met."""
    whole = Results(
        machine=describe(),
        model="box",
        settings={},
        plan={"rounds": 3, "seconds": 1.0},
        pictures=["1280x720: 2 JPEGs of 171 kB, generated"],
        slices=slices_of(PLAIN, NAIVE, SERVICE),
        starts=[1.2, 1.1, 1.3],
        memory={NAIVE: Memory(100, 200, 300), SERVICE: Memory(150, 160, 170)},
        idle=0.001,
        soak=soak(growth=1.0),
    )
    return replace(whole, **changes)


def slices_of(*contenders: str) -> list[Slice]:
    """Three rounds of each, at 1 and 32 in flight."""
    figures = {PLAIN: (100, 10), NAIVE: (60, 20), SERVICE: (97, 12)}
    return [
        slice_of(name, figures[name][0], number=number, concurrency=concurrency, p50=figures[name][1])
        for number in range(3)
        for concurrency in (1, 32)
        for name in contenders
    ]


def soak(growth: float) -> Soak:
    """2,000 requests; memory grows by that much half way."""
    samples = [Sample(100 * index, 0 if index == 0 else 200 * (growth if index > 10 else 1)) for index in range(21)]
    return Soak(2000, samples, 0, None)


def with_errors(item: Slice) -> Slice:
    return replace(item, measured=replace(item.measured, errors=2, first_error="HTTP/1.1 503 [busy]"))


def test_all_targets_met() -> None:
    found = targets.of_service(results())
    assert [target.met for target in found] == [True] * 4
    assert {target.what for target in found} >= {"start to ready", "memory over 2,000 mixed requests"}


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({"starts": [2.4, 1.0, 2.1]}, "start to ready"),
        ({"memory": {SERVICE: Memory(301, 301, 301)}}, "resident memory when ready"),
        ({"idle": 0.03}, "CPU without requests"),
        ({"soak": soak(growth=1.2)}, "memory over 2,000 mixed requests"),
    ],
)
def test_a_missed_target(changes: dict[str, Any], missed: str) -> None:
    assert [target.what for target in targets.of_service(results(**changes)) if not target.met] == [missed]


def test_the_quarters_of_a_soak_leave_out_the_memory_before_it() -> None:
    found = soak(growth=1.5)
    assert (found.first_quarter_mb, found.last_quarter_mb, found.growth) == (200, 300, 1.5)


def test_errors_are_counted_and_quoted() -> None:
    whole = results()
    whole = results(slices=[with_errors(whole.slices[0]), *whole.slices[1:]])
    (line,) = whole.errors
    assert "2 errors, the first: HTTP/1.1 503 [busy]" in line
    screen = io.StringIO()
    tables.print_results(whole, Console(file=screen, width=200))
    assert line in screen.getvalue()
    assert line in tables.to_markdown(whole)


@pytest.mark.parametrize("beside", [(), (PLAIN,), (PLAIN, NAIVE)])
def test_tables_fit_a_terminal_of_80_columns(beside: tuple[str, ...]) -> None:
    screen = io.StringIO()
    tables.print_results(results(slices=slices_of(*beside, SERVICE)), Console(file=screen, width=80))
    assert ("0.97 (0.97-0.97)" in screen.getvalue()) is (PLAIN in beside)
    assert "…" not in screen.getvalue()
    assert max(map(len, screen.getvalue().splitlines())) <= 80


@pytest.mark.parametrize("beside", [(), (PLAIN,), (PLAIN, NAIVE)])
def test_a_plot_is_drawn_whatever_the_service_is_measured_beside(beside: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "bench.png"
    assert plot.write(results(slices=slices_of(*beside, SERVICE)), path) == f"wrote {path}"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_markdown_has_every_row_and_well_formed_tables() -> None:
    text = tables.to_markdown(results())
    assert "| 1280x720 | 32 | service | 97.0 (97.0-97.0) | 0.97 (0.97-0.97) | 1.62 (1.62-1.62) |" in text
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1


def test_json_is_strict_even_where_numbers_are_missing() -> None:
    whole = results()
    empty = replace(whole.slices[0], measured=replace(whole.slices[0].measured, p50_ms=math.nan))
    text = json.dumps(results(slices=[empty]).to_json(), allow_nan=False)
    assert json.loads(text)["slices"][0]["measured"]["p50_ms"] is None
