"""Checkpoints: whole or not there, gone on from, and what a damaged one or a full disk does."""

import io
import resource
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from models.shelf.training import checkpoints
from models.shelf.training.checkpoints import NotWritten
from models.shelf.training.coco import DataRefused
from models.shelf.training.corpus import Corpus
from models.shelf.training.session import Training
from models.shelf.training.team import Team, together
from models.shelf.training.train import TrainingPlan, load_plan
from tests.models.shelf.scenes import drawn
from tests.models.shelf.torchrun import TINY, losses

PLAN: TrainingPlan = replace(load_plan(TINY), steps=6)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(drawn(tmp_path_factory.mktemp("scenes"), range(4)))


def said(run: Training) -> str:
    with redirect_stdout(io.StringIO()) as printed:
        together(run, 1)
    return printed.getvalue()


def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_goes_on_alike(corpus: Corpus, tmp_path: Path) -> None:
    run = Training(tmp_path, corpus, PLAN, resumed=True)
    together(run, 1)
    whole, end = losses(tmp_path), checkpoints.newest_path(tmp_path)
    end.write_bytes(b"damaged" + end.read_bytes()[7:])
    (tmp_path / "log.jsonl").unlink()
    assert f"{end.name} is damaged (its SHA-256 is not that of its name)" in said(run).replace("\n", " ")
    assert losses(tmp_path) == {6: whole[6]}
    assert checkpoints.newest_path(tmp_path).read_bytes() != b""


def test_steps_that_are_done_again_are_logged_once(corpus: Corpus, tmp_path: Path) -> None:
    together(Training(tmp_path, corpus, PLAN), 1)
    checkpoints.newest_path(tmp_path).unlink()
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 7, "cl')  # as a crash leaves it
    together(Training(tmp_path, corpus, PLAN, resumed=True, steps=7), 1)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert lines.pop(6) == '{"step": 7, "cl'
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    assert list(losses(tmp_path)) == list(range(1, 8))


def test_another_seed_gives_another_curve(corpus: Corpus, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 7)):
        together(Training(tmp_path / name, corpus, replace(PLAN, seed=seed), steps=2), 1)
    assert losses(tmp_path / "a") == losses(tmp_path / "b") != losses(tmp_path / "c")


def test_two_processes_want_two_shards(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="2 processes have 1 shards to train on: --shards 2"):
        Training(tmp_path, corpus, replace(PLAN, shards=1))(Team(0, 2))


def test_only_two_are_kept(tmp_path: Path) -> None:
    for step, content in enumerate((b"one", b"two", b"three"), 1):
        checkpoints.write(tmp_path, step, content)
    assert checkpoints.newest(tmp_path) == (b"three", [])
    assert len(list(tmp_path.iterdir())) == checkpoints.KEPT
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    content, refused = checkpoints.newest(tmp_path)
    assert content is None
    assert len(refused) == 2


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk: the system refuses to write more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_said_and_does_not_end_training_before_its_end(corpus: Corpus, tmp_path: Path) -> None:
    together(Training(tmp_path, corpus, PLAN, steps=1), 1)
    fails = pytest.raises(NotWritten, match=r"step 3 .* was not written: File too large; \d+ MiB are free")
    with files_of_at_most(20_000), redirect_stdout(io.StringIO()) as printed, fails:
        together(Training(tmp_path, corpus, PLAN, steps=3, resumed=True), 1)
    assert "step 2 (0 MiB) was not written" in printed.getvalue()
    assert "checkpoint-0000001" in printed.getvalue()
    assert [path.name[:18] for path in tmp_path.glob("checkpoint*")] == ["checkpoint-0000001"]
    together(Training(tmp_path, corpus, PLAN, steps=3, resumed=True), 1)
    assert list(losses(tmp_path)) == [1, 2, 3]
