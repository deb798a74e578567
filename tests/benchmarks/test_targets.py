"""What the service is to reach beside others, and the verdicts."""

from dataclasses import replace

from app.bench.measurements import SERVICE
from benchmarks.targets import of_comparison
from tests.bench.test_results import results


def test_all_targets_met() -> None:
    assert [target.met for target in of_comparison(results())] == [True] * 3


def test_throughput_and_latency_missed() -> None:
    slow = [replace(item, measured=replace(item.measured, per_second=70, p50_ms=14)) for item in results().slices[2::3]]
    rest = [item for item in results().slices if item.contender != SERVICE]
    missed = [(target.wanted, target.met) for target in of_comparison(results(slices=rest + slow)) if not target.met]
    assert missed == [
        ("≥ 0.95 x plain loop", False),
        ("≥ 1.3 x naive endpoint", False),
        ("≤ 1.1 x plain loop + 2 ms = 13.0 ms", False),
    ]


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    only = [item for item in results().slices if item.contender == SERVICE]
    assert {target.met for target in of_comparison(results(slices=only))[:3]} == {None}
