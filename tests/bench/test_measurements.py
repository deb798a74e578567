"""The arithmetic on slices."""

import math

import pytest

from app.bench.measurements import SERVICE, latency_to_limit, percentile, ratios, spread, summarise
from tests.bench.slices import NAIVE, PLAIN, slice_of


@pytest.mark.parametrize(("share", "expected"), [(0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1, 100)])
def test_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_a_percentile_of_nothing_is_not_a_number() -> None:
    assert math.isnan(percentile([], 0.5))


def test_spread_leaves_out_what_is_not_a_number() -> None:
    found = spread([3.0, math.nan, 1.0, 2.0])
    assert (found.median, found.low, found.high) == (2.0, 1.0, 3.0)
    assert math.isnan(spread([math.nan]).median)


def test_ratios_are_taken_within_each_round_so_that_drift_cancels() -> None:
    plain = [slice_of(PLAIN, 100, number=0), slice_of(PLAIN, 50, number=1)]
    service = [slice_of(SERVICE, 90, number=0), slice_of(SERVICE, 45, number=1)]
    assert ratios(service, plain) == [0.9, 0.9]


def test_rounds_that_the_other_lacks_or_answered_nothing_in_have_no_ratio() -> None:
    service = [slice_of(SERVICE, 90, number=number) for number in range(3)]
    assert ratios(service, [slice_of(PLAIN, 0, number=0), slice_of(PLAIN, 60, number=2)]) == [1.5]


def test_latency_is_held_against_the_limit_of_its_own_round() -> None:
    plain = [slice_of(PLAIN, 100, p50=20), slice_of(PLAIN, 50, number=1, p50=40)]
    service = [slice_of(SERVICE, 100, p50=24), slice_of(SERVICE, 50, number=1, p50=92)]
    assert latency_to_limit(service, plain, 1.1, 2.0) == pytest.approx([1.0, 2.0])


def test_a_row_for_each_size_concurrency_and_contender() -> None:
    slices = [
        slice_of(name, rate, size=size, concurrency=concurrency, number=number)
        for number in range(3)
        for size in ("1920x1080", "1280x720")
        for concurrency in (32, 8)
        for name, rate in ((SERVICE, 96), (PLAIN, 100), (NAIVE, 48))
    ]
    rows = summarise(slices)
    assert [(row.size, row.concurrency, row.contender) for row in rows[:4]] == [
        ("1280x720", 8, PLAIN),
        ("1280x720", 8, NAIVE),
        ("1280x720", 8, SERVICE),
        ("1280x720", 32, PLAIN),
    ]
    assert len(rows) == 12
    assert rows[2].ratios[PLAIN].median == 0.96
    assert rows[2].ratios[NAIVE].median == 2.0
    assert rows[2].cpu_ms_per_picture == pytest.approx(1500 / 96)


def test_a_service_that_is_measured_alone_has_no_ratios() -> None:
    (row,) = summarise([slice_of(SERVICE, 96)])
    assert row.ratios == {}
    assert row.per_second.median == 96
