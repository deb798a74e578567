"""`roo-vision models pull | push` as a user meets them."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.test_cli import roo
from tests.fixtures.models import add_box_model, add_colour_model, write_manifest
from tests.fixtures.waiting import PATIENCE


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A repository with the models `colour` and `box`."""
    add_colour_model(tmp_path / "released")
    add_box_model(tmp_path / "released")
    return tmp_path / "released"


def test_there_and_back_in_plain_lines(released: Path, tmp_path: Path) -> None:
    pushed = roo("models", "push", tmp_path / "share", "colour", "--models-dir", released)
    assert pushed.returncode == 0
    assert pushed.stderr.splitlines()[-1] == f"{tmp_path / 'share'}: 2 files pushed, 0 there already"
    pulled = roo("models", "pull", tmp_path / "share", "--into", tmp_path / "mine")
    assert pulled.returncode == 0
    lines = pulled.stderr.splitlines()
    assert lines[-2:] == ["colour: pulled", f"{tmp_path / 'mine'}: 1 pulled, 0 up to date, 0 not pulled"]
    assert pulled.stdout == ""
    assert roo("models", "list", "--models-dir", tmp_path / "mine").returncode == 0


def test_one_that_fails_is_an_exit_code_of_one(released: Path, tmp_path: Path) -> None:
    write_manifest(released / "colour", {"tsak": "detection"})
    done = roo("models", "pull", released, "--into", tmp_path / "mine")
    assert done.returncode == 1
    assert "colour: NOT pulled: " in done.stderr
    assert "1 pulled, 0 up to date, 1 not pulled" in done.stderr


def test_a_place_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    done = roo("models", "pull", "s3://bucket/models", "--into", tmp_path / "mine")
    assert done.returncode == 2
    assert done.stderr.startswith("roo-vision: The models' source begins with s3://, which is not known.")


def test_a_terminal_has_a_bar(released: Path, tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "app", "models", "pull", str(released), "--into", str(tmp_path / "mine")]
    done = subprocess.run(command, stderr=terminal, timeout=PATIENCE, check=False)
    os.close(terminal)
    shown = os.read(controller, 100_000).decode()
    os.close(controller)
    assert done.returncode == 0
    assert "━━━" in shown
    assert "colour: pulled" in shown
