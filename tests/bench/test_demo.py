"""The demonstration, in its shortest form, loses nothing and doubles nothing."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


def test_the_demonstration_answers_every_picture_and_dead_letters_what_is_none() -> None:
    command = [sys.executable, "-m", "app", "demo", "--pictures", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert "20, 0 missing, 0 doubled" in done.stdout
    assert "UnsupportedImage" in done.stdout
    assert re.fullmatch(r"The console: http://127\.0\.0\.1:\d+/console/#queue", done.stdout.splitlines()[-1])


def test_who_stays_can_use_the_console_until_ctrl_c() -> None:
    command = [sys.executable, "-m", "app", "demo", "--pictures", "2", "--stay"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        assert running.stdout is not None
        address = next(line.split()[-1] for line in running.stdout if line.startswith("The console: "))
        base = address.partition("/console/")[0]
        (queue,) = httpx.get(f"{base}/v1/queues", timeout=60).json()["queues"]
        letters = httpx.get(f"{base}/v1/dead-letters", params={"queue": queue["queue"]}, timeout=60).json()["letters"]
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0
    assert [letter["message_id"] for letter in letters] == ["no-picture"]
