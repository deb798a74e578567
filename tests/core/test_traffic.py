"""Who answers: one key meets one version, shares are kept, and no key moves that need not."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.traffic import Traffic, pick
from app.repository.route import Route

KEYS = [f"robot-{number}" for number in range(4000)]
SERVED = ("1", "2", "3")

keys = st.text(max_size=20)
weights = st.dictionaries(st.sampled_from(SERVED), st.integers(1, 100).map(float), min_size=1)


def chosen(weights: dict[str, float], name: str = "shelf") -> dict[str, str]:
    return {key: pick(name, key, weights) for key in KEYS}


@pytest.mark.parametrize("shares", [{"1": 90, "2": 10}, {"1": 50, "2": 50}, {"1": 20, "2": 30, "3": 50}])
def test_shares_are_kept_within_four_standard_deviations(shares: dict[str, float]) -> None:
    counts = Counter(chosen(shares).values())
    for version, percent in shares.items():
        expected, deviation = len(KEYS) * percent / 100, (len(KEYS) * percent * (100 - percent)) ** 0.5 / 100
        assert abs(counts[version] - expected) < 4 * deviation


def test_from_90_and_10_to_80_and_20_only_a_tenth_moves_and_only_to_the_second() -> None:
    before, after = chosen({"1": 90, "2": 10}), chosen({"1": 80, "2": 20})
    moved = [(before[key], after[key]) for key in KEYS if before[key] != after[key]]
    assert set(moved) == {("1", "2")}
    assert abs(len(moved) - len(KEYS) / 10) < 4 * (len(KEYS) * 0.1 * 0.9) ** 0.5


def test_the_choice_is_the_same_for_ever_and_everywhere() -> None:
    """Written down: a change here moves every robot of every fleet."""
    found = [pick("shelf", f"r{number}", {"1": 50, "2": 50}) for number in range(12)]
    assert "".join(found) == "121111122222"


def test_models_try_their_candidates_on_different_robots() -> None:
    one, other = (chosen({"1": 90, "2": 10}, name) for name in ("shelf", "label"))
    both = sum(one[key] == other[key] == "2" for key in KEYS)
    assert both < 2 * len(KEYS) / 100  # a hundredth where they are independent, a tenth where they are not


@given(keys, weights, st.sampled_from(SERVED), st.integers(1, 100))
def test_a_version_that_gains_takes_keys_and_nobody_else_does(
    key: str, before: dict[str, float], gaining: str, more: int
) -> None:
    after = before | {gaining: before.get(gaining, 0.0) + more}
    assert pick("shelf", key, after) in (pick("shelf", key, before), gaining)


@given(keys, weights)
def test_only_the_proportions_count_and_not_the_order(key: str, weights: dict[str, float]) -> None:
    turned = {version: weights[version] for version in reversed(weights)}
    assert pick("shelf", key, weights) == pick("shelf", key, turned)
    doubled = {version: 2 * weight for version, weight in weights.items()}
    assert pick("shelf", key, weights) == pick("shelf", key, doubled)


@given(keys, st.dictionaries(st.sampled_from(SERVED), st.integers(0, 100).map(float)), st.sets(st.sampled_from(SERVED)))
def test_somebody_who_is_served_answers_whatever_the_shares_are(
    key: str, shares: dict[str, float], served: set[str]
) -> None:
    traffic = Traffic()
    traffic.change("shelf", Route(shares))
    if served:
        found = traffic.choose("shelf", None, key, served)
        assert found in served
        there = {version for version in served if shares.get(version, 0) > 0}
        assert found in there if there else found == max(served)


def test_without_shares_the_default_answers_and_else_the_newest() -> None:
    traffic = Traffic()
    assert traffic.choose("shelf", None, "r7", ["2", "10"]) == "10"
    traffic.change("shelf", Route(default_version="2"))
    assert traffic.choose("shelf", None, "r7", ["2", "10"]) == "2"
    assert traffic.choose("shelf", None, "r7", ["10"]) == "10"


def test_a_stage_stands_for_its_version_and_a_number_for_itself() -> None:
    traffic = Traffic()
    traffic.change("shelf", Route({"1": 100}, stages={"candidate": "2"}))
    assert traffic.choose("shelf", "candidate", "r7", ["1", "2"]) == "2"
    assert traffic.choose("shelf", "2", "r7", ["1", "2"]) == "2"
    assert traffic.choose("shelf", "absent", "r7", ["1", "2"]) == "absent"


def test_what_describes_a_model_is_the_version_with_the_largest_share() -> None:
    traffic = Traffic()
    traffic.change("shelf", Route({"1": 90, "2": 10}))
    assert traffic.choose("shelf", None, None, ["1", "2"]) == "1"


def test_shares_that_were_changed_outlast_a_manifest_that_was_not() -> None:
    traffic = Traffic({"fixed": {"1": 100}})
    declared = Route({"1": 90, "2": 10})
    traffic.configure("shelf", declared)
    traffic.change("shelf", declared.with_shares({"1": 50, "2": 50}))
    traffic.configure("shelf", Route({"1": 90, "2": 10}))
    assert traffic.route("shelf").shares == {"1": 50, "2": 50}
    traffic.configure("shelf", Route({"1": 0, "2": 100}))
    assert traffic.route("shelf").shares == {"1": 0, "2": 100}
    traffic.configure("fixed", declared)
    assert traffic.route("fixed").shares == {"1": 100}


@pytest.mark.parametrize(
    ("route", "words"),
    [
        (Route({"1": 90, "2": 5}), "add up to 95, not to 100"),
        (Route({"1": 110, "2": -10}), "version 1 has 110 percent"),
        (Route({"1": float("nan")}), "version 1 has nan percent"),
        (Route({"1": 50, "4": 50}), "traffic names version 4, which is not served; served: 1, 2"),
        (Route(default_version="3"), "default_version names version 3"),
        (Route(stages={"candidate": "3"}), "stages names version 3"),
        (Route(shadow={"3": 10}), "shadow names version 3"),
        (Route(shadow={"2": 101}), "shadow: version 2 has 101 percent"),
    ],
)
def test_what_does_not_fit_together_is_said(route: Route, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        route.check(("1", "2"))
