"""The demonstration, in its shortest form, loses nothing and doubles nothing."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_demonstration_answers_every_picture_and_dead_letters_what_is_none() -> None:
    command = [sys.executable, "-m", "app", "demo", "--pictures", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert "20, 0 missing, 0 doubled" in done.stdout
    assert "UnsupportedImage" in done.stdout
