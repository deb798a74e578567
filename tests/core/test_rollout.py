"""A roll-out goes on only where every guard has passed, back as soon as one fails, and waits where little is known."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import rollout
from app.core.guards import LEAST, Counted, Figures, Verdict, chance_of, read_guards
from app.core.rollout import Phase, Plan, State

BUCKETS = (0.01, 0.1, 1.0)
GUARDS = ("error_ratio<0.5%", "p99<1.2x", "agreement>0.97")
STEPS = (5.0, 25.0, 50.0, 100.0)


def counted(pictures: float = 1000, failed: float = 0, times: tuple[float, ...] = (990, 10, 0, 0)) -> Counted:
    return Counted(pictures, failed, BUCKETS, times)


def figures(**changes: Any) -> Figures:
    fine = {"new": counted(), "old": counted(), "compared": 500, "agreement": 500.0}
    return Figures(**(fine | changes))


SLOW = counted(times=(900, 0, 100, 0))
WRONG = [
    figures(new=counted(failed=20)),
    figures(new=counted(pictures=2, failed=2)),
    figures(new=SLOW),
    figures(agreement=440.0),
]
SHORT_TIMES = (LEAST - 2, 1, 0, 0)
LITTLE = [
    figures(new=counted(pictures=LEAST - 1, failed=1, times=SHORT_TIMES)),
    figures(old=counted(pictures=LEAST - 1)),
    figures(compared=LEAST - 1, agreement=LEAST - 1),
    Figures(),
]


def plan(steps: tuple[float, ...] = STEPS, guards: tuple[str, ...] = GUARDS, **changes: Any) -> Plan:
    known = {"model": "shelf", "to": "2", "every": 60.0, "before": {"1": 100.0}}
    return Plan(steps=steps, guards=read_guards(guards), **(known | changes))


def shown(state: State) -> tuple[Phase, float]:
    return state.phase, state.shares.get("2", 0.0)


def test_it_goes_up_step_by_step_and_ends_with_the_last() -> None:
    state, seen = rollout.begin(plan(), 0.0), []
    for second in range(0, 200, 10):
        state = rollout.advance(state, float(second), figures())
        seen.append(state.shares["2"])
    assert seen == [5.0] * 6 + [25.0] * 6 + [50.0] * 6 + [100.0] * 2
    assert (state.phase, state.shares) == (Phase.DONE, {"1": 0.0, "2": 100.0})
    assert rollout.advance(state, 999.0, WRONG[0]) == rollout.go_back(state, 999.0, "late") == state


@pytest.mark.parametrize("wrong", WRONG)
def test_a_guard_that_fails_goes_back_at_once_and_says_why(wrong: Figures) -> None:
    state = rollout.advance(rollout.begin(plan(), 0.0), 3.0, wrong)
    assert (state.phase, state.shares) == (Phase.BACK, {"1": 100.0})
    assert state.reason.startswith("at 5 %: ")
    assert "the limit" in state.reason


@pytest.mark.parametrize("little", LITTLE)
def test_too_little_is_no_success(little: Figures) -> None:
    state = rollout.begin(plan(), 0.0)
    for hours in range(1, 50):
        state = rollout.advance(state, hours * 3600.0, little)
        assert shown(state) == (Phase.RUNNING, 5.0)
        assert "are too few" in state.reason
    assert shown(rollout.advance(state, 50 * 3600.0, figures())) == (Phase.RUNNING, 25.0)


def test_others_keep_their_proportions() -> None:
    state = rollout.begin(plan(before={"1": 60.0, "3": 30.0, "2": 10.0}, steps=(55.0, 100.0)), 0.0)
    assert state.shares == pytest.approx({"1": 30.0, "3": 15.0, "2": 55.0})
    assert rollout.go_back(state, 1.0, "by hand").shares == {"1": 60.0, "3": 30.0, "2": 10.0}


outcomes = st.sampled_from([figures(), *WRONG, *LITTLE])
moments = st.lists(st.tuples(st.floats(0.1, 100), outcomes), max_size=30)
steps = st.lists(st.integers(1, 99), unique=True, max_size=5).map(lambda found: (*map(float, sorted(found)), 100.0))


@given(steps, moments, st.dictionaries(st.sampled_from(["1", "3", "4"]), st.integers(1, 9), min_size=1))
def test_whatever_is_counted(steps: tuple[float, ...], moments: list[tuple[float, Figures]], weights: dict) -> None:  # type: ignore[type-arg]
    total = sum(weights.values())
    before = {version: 100.0 * weight / total for version, weight in weights.items()}
    now, state = 0.0, rollout.begin(plan(steps, before=before), 0.0)
    for passed, found in moments:
        now += passed
        following = rollout.advance(state, now, found)
        assert math.fsum(following.shares.values()) == pytest.approx(100)
        assert all(0 <= share <= 100 for share in following.shares.values())
        if state.phase is not Phase.RUNNING:
            assert following == state
        elif found in WRONG:
            assert (following.phase, following.shares) == (Phase.BACK, before)
        elif following.step != state.step:
            assert following.step == state.step + 1
            assert found == figures()
            assert now - state.since >= 60.0 - 1e-6
        state = following


@pytest.mark.parametrize(
    ("guards", "words"),
    [
        (["errors<1%"], "there is no metric 'errors' to guard; there are error_ratio, p50, p95, p99, agreement"),
        (["p99"], "the guard 'p99' is not METRIC<LIMIT"),
        (["p99<5%"], "the limit of p99 has the unit 'x' or 'ms' or 's', not %"),
        (["p99<5"], "not none"),
        (["p99>1.2x"], "p99 must be below its limit"),
        (["agreement<0.9"], "agreement must be above its limit"),
        (["p99<1x", "p99<1s"], "guarded twice"),
    ],
)
def test_a_guard_that_is_none_is_refused(guards: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_guards(guards)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": ()}, "must rise"),
        ({"steps": (5.0, 5.0, 100.0)}, "must rise"),
        ({"steps": (5.0, 50.0)}, "to 100 percent"),
        ({"steps": (0.0, 100.0)}, "above 0"),
        ({"every": 0.0}, "no time"),
        ({"before": {"1": 90.0, "2": 10.0}}, "version 2 has 10 percent"),
    ],
)
def test_a_plan_that_is_none_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rollout.begin(plan(**changes), 0.0)


def test_a_quantile_is_interpolated_within_its_bucket() -> None:
    assert counted(times=(50, 50, 0, 0)).quantile(0.75) == pytest.approx(0.055)
    assert counted(times=(0, 0, 0, 10)).quantile(0.99) == 1.0
    assert counted(times=(0, 0, 0, 0)).quantile(0.99) == 0.0
    assert (counted(times=(5, 5, 0, 0)) - counted(times=(5, 0, 0, 0))).quantile(0.5) == pytest.approx(0.055)
    assert read_guards(["p95<250ms"])[0].judge(figures(new=SLOW))[0] is Verdict.FAILED


@pytest.mark.parametrize(
    ("guard", "found", "verdict"),
    [
        ("error_ratio<0.5%", figures(new=counted(failed=6)), Verdict.INCONCLUSIVE),
        ("error_ratio<0.5%", figures(new=counted(failed=4)), Verdict.PASSED),
        ("error_ratio<0.5%", figures(new=counted(pictures=1e6, failed=4_000)), Verdict.PASSED),
        ("error_ratio<0.5%", figures(new=counted(pictures=1e6, failed=6_000)), Verdict.FAILED),
        ("error_ratio<2x", figures(new=counted(failed=1)), Verdict.PASSED),
        ("error_ratio<2x", figures(new=counted(failed=40)), Verdict.FAILED),
        ("error_ratio<2x", figures(new=counted(failed=40), old=counted(failed=30)), Verdict.PASSED),
        ("p95<20ms", figures(new=counted(times=(900, 100, 0, 0))), Verdict.FAILED),
        ("p95<80ms", figures(new=counted(times=(900, 100, 0, 0))), Verdict.PASSED),
        ("agreement>0.97", figures(agreement=480.0), Verdict.INCONCLUSIVE),
        ("agreement>97%", figures(agreement=490.0), Verdict.PASSED),
    ],
)
def test_what_may_have_come_about_by_chance_fails_nothing(guard: str, found: Figures, verdict: Verdict) -> None:
    assert read_guards([guard])[0].judge(found)[0] is verdict


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.001, 0.999))
def test_the_chance_is_the_binomial_distributions(hits: int, others: int, share: float) -> None:
    count = hits + others
    terms = (math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(hits, count + 1))
    expected = 1.0 if hits <= share * count else math.fsum(terms)
    assert chance_of(hits, count, share) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(st.lists(st.integers(0, 1000), min_size=4, max_size=4), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_and_what_is_slower_agree(times: list[int], share: float) -> None:
    found = counted(times=tuple(times))
    if sum(times) and times[-1] <= (1 - share) * sum(times):
        assert found.slower(found.quantile(share)) == pytest.approx((1 - share) * sum(times), rel=1e-6, abs=1e-6)
