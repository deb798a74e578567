"""The benchmark of chains: its table."""

from benchmarks.chains import CHAIN, LOOP, ONE_BY_ONE, table


def test_ratios_are_taken_within_each_round() -> None:
    found = {CHAIN: [(10.0, 4.0), (20.0, 8.0)], LOOP: [(10.0, 2.0), (20.0, 4.0)], ONE_BY_ONE: [(5.0, 1.0), (10.0, 2.0)]}
    lines = table(found, 16)
    assert "| 1.00 (1.00-1.00) | " in lines[3]
    assert lines[4].endswith("| 2.00 (2.00-2.00) | 1.5 (1.0-2.0) | 4.00 (4.00-4.00) | 2 |")
