"""Plans, the order of slices, and the pictures."""

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.bench import pictures, run
from app.bench.pictures import Workload
from app.bench.plan import BenchPlan, make_plan
from app.errors import StartupError
from app.vision import image


def plan(**changes: Any) -> BenchPlan:
    return make_plan(
        **{
            "seconds": None,
            "rounds": None,
            "concurrency": "1,8",
            "soak": 0,
            "out": Path("out"),
            "quick": False,
            **changes,
        }
    )


def test_what_is_given_wins_over_quick() -> None:
    assert plan(quick=True).seconds < plan().seconds
    assert plan(quick=True, seconds=2.5, rounds=4).seconds == 2.5
    assert plan(quick=True, seconds=2.5, rounds=4).rounds == 4


def test_concurrencies_are_sorted_and_said_once() -> None:
    assert plan(concurrency=" 32, 1,8,8 ").concurrencies == (1, 8, 32)


@pytest.mark.parametrize("text", ["", "0", "1,,8", "eight", "-1", "1.5", "9999", "²"])
def test_bad_concurrencies_are_refused_readably(text: str) -> None:
    with pytest.raises(StartupError, match="whole numbers from 1 to 1024"):
        plan(concurrency=text)


def test_contenders_alternate_and_take_turns_at_being_first() -> None:
    contenders: list[Any] = [SimpleNamespace(name=name) for name in "abc"]
    workloads = [Workload("1280x720", "", []), Workload("1920x1080", "", [])]
    order = list(run.turns(plan(rounds=3), workloads, contenders))
    assert len(order) == plan(rounds=3).slices * len(contenders)
    groups = [order[start : start + 3] for start in range(0, len(order), 3)]
    for group in groups:
        assert {contender.name for _, _, _, contender in group} == set("abc")
        assert len({(number, workload.size, concurrency) for number, workload, concurrency, _ in group}) == 1
    firsts = [group[0][3].name for group in groups if (group[0][1].size, group[0][2]) == ("1280x720", 1)]
    assert sorted(firsts) == list("abc")
    assert all(one[0][3].name != two[0][3].name for one, two in pairwise(groups[:4]))


def test_generated_pictures_are_of_their_size_and_always_the_same(tmp_path: Path) -> None:
    small, large = pictures.workloads(tmp_path, 1)
    assert image.read_header(small.pictures[0]).size == (1280, 720)
    assert image.read_header(large.pictures[0]).size == (1920, 1080)
    assert 80 < small.mean_kb < 400
    assert pictures.workloads(tmp_path, 1)[0].pictures == small.pictures


def test_a_models_own_examples_are_taken_or_scaled(tmp_path: Path) -> None:
    example = pictures.workloads(tmp_path, 1)[0].pictures[0]
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "one.jpg").write_bytes(example)
    small, large = pictures.workloads(tmp_path, 4)
    assert small.pictures == [example]
    assert "scaled" in large.source
    assert image.read_header(large.pictures[0]).size == (1920, 1080)


def test_mixed_pictures_are_of_many_sizes_and_all_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MIXED_SIZES", ((64, 48), (48, 64)))
    made = list(pictures.mixed(60))
    headers = [image.read_header(data) for _, data in made]
    assert [header.media_type for header in headers] == [media_type for media_type, _ in made]
    assert {(header.format, header.size) for header in headers} == {
        (kind, size) for kind in ("JPEG", "PNG", "WEBP") for size in ((64, 48), (48, 64))
    }
