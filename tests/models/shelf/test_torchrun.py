"""Training in processes that torchrun starts: the same curve, through every loss of a process."""

import os
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.fixtures.waiting import until
from tests.models.shelf.scenes import drawn
from tests.models.shelf.torchrun import command, losses, trained, training, workers

KILLS = int(os.environ.get("TRAINING_KILLS", "2"))
STEPS = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn(tmp_path_factory.mktemp("scenes"), range(6))


@pytest.fixture(scope="module")
def curve(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[float, float]]:
    """The losses of one process that nobody disturbs."""
    work = tmp_path_factory.mktemp("one")
    done = trained(command(work, data, "--steps", str(STEPS)))
    assert done.returncode == 0, done.stderr
    assert f"step {STEPS}/{STEPS}" in done.stdout
    assert " steps/s  " in done.stdout
    assert " left" in done.stdout
    return losses(work)


def test_two_processes_give_the_curve_of_one(data: Path, curve: dict[int, tuple[float, float]], tmp_path: Path) -> None:
    done = trained(command(tmp_path, data, "--steps", str(STEPS), processes=2))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count(f"step {STEPS}/{STEPS}") == 1, "one of them speaks"
    found = losses(tmp_path)
    assert found.keys() == curve.keys() == set(range(1, STEPS + 1))
    for step, expected in curve.items():
        assert found[step] == pytest.approx(expected, rel=1e-4), step


def test_killed_processes_come_back_and_go_on(data: Path, tmp_path: Path) -> None:
    """After each kill within a minute, from the last checkpoint."""
    steps = 4000 if KILLS > 2 else 400
    line = command(tmp_path, data, "--steps", str(steps), processes=2, restarts=KILLS)
    taken = []
    with training(line) as process:
        for kill in range(KILLS):
            reached = _step(tmp_path)
            until(lambda reached=reached: _step(tmp_path) > reached + 2, patience=60)
            before = workers(process.pid)
            os.kill(before[kill % 2], signal.SIGKILL)
            begun = time.monotonic()
            until(lambda before=before: len(set(workers(process.pid)) - set(before)) == 2, patience=60)
            reached = _step(tmp_path)
            until(lambda reached=reached: _step(tmp_path) > reached or process.poll() is not None, patience=60)
            assert process.poll() is None, process.stdout.read()[-3000:] if process.stdout else ""
            taken.append(time.monotonic() - begun)
    found = losses(tmp_path)
    assert list(found) == list(range(1, len(found) + 1)), "no step is missing"
    assert max(taken) < 60, taken


def test_losses_that_are_no_numbers_stop_training_with_words(data: Path, tmp_path: Path) -> None:
    done = trained(command(tmp_path, data, "--steps", "40", "--rate", "1e30"))
    assert done.returncode == 1
    assert "no numbers any more" in done.stderr
    assert "Train at a lower rate" in done.stderr
    assert "train-" in done.stderr, "the pictures of that step"
    assert "Traceback" not in done.stderr


def _step(work: Path) -> int:
    return max((int(path.name.split("-")[1]) for path in work.glob("checkpoint-*.pt")), default=0)
