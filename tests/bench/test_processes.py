"""Child processes: asked, measured, and always ended."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app.bench import processes
from app.bench.processes import Child, sigterm_as_exit
from app.errors import StartupError
from tests.bench.children import IN_BACKGROUND, started

STUBBORN = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('set', flush=True)\ntime.sleep(60)\n"
)
ECHO = "import sys\nfor line in sys.stdin: print(line.strip().upper(), flush=True)\n"
BUSY = "import time\nwhile time.process_time() < 0.2: pass\nprint('done', flush=True)\ntime.sleep(60)\n"
BROKEN = "raise SystemExit('no model to be found')\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules a child finds."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name, text in (("stubborn", STUBBORN), ("echo", ECHO), ("busy", BUSY), ("broken", BROKEN)):
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_child_is_asked_line_by_line(write: Path) -> None:
    with Child("echo", ["echo"], write, talks=True) as child:
        assert child.ask("one") == "ONE\n"
        assert child.ask("two") == "TWO\n"


def test_cpu_and_memory_are_the_childs(write: Path) -> None:
    with Child("busy", ["busy"], write, talks=True) as child:
        child.listen()
        assert child.cpu_seconds() >= 0.2
        assert 1 < child.resident_mb() <= child.peak_mb() < 200


def test_one_that_ignores_sigterm_is_killed(write: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.2)
    with Child("stubborn", ["stubborn"], write, talks=True) as child:
        child.listen()
        pid = child.pid
        assert is_running(pid)
    assert not is_running(pid)


def test_children_are_ended_on_an_error(write: Path) -> None:
    child = Child("echo", ["echo"], write, talks=True)
    assert is_running(child.pid)
    with pytest.raises(RuntimeError), child:
        raise RuntimeError
    assert not is_running(child.pid)


def test_one_that_ends_by_itself_is_reported_with_its_log(write: Path) -> None:
    with Child("broken", ["broken"], write) as child, pytest.raises(StartupError, match="no model to be found"):
        child.wait_until_ready("/readyz")
    with (
        Child("broken", ["broken"], write, talks=True) as child,
        pytest.raises(StartupError, match="broken ended by itself with code 1"),
    ):
        child.ask("anything")


def test_a_free_port_is_found_without_being_told(write: Path) -> None:
    with Child("files", ["http.server", "--bind", "127.0.0.1", "0"], write) as child:
        port, seconds = child.wait_until_ready("/")
        assert port > 1023
        assert 0 < seconds < time.monotonic()


def test_sigterm_leaves_as_an_exit_and_the_old_way_is_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, sigterm_as_exit():
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


SHOUTING = """
import asyncio, sys
from app.bench.processes import sigterm_as_exit

async def shout():
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(line.strip().upper(), flush=True)

async def sleep():
    print("ASLEEP", flush=True)
    await asyncio.sleep(600)

with sigterm_as_exit():
    asyncio.run(shout())
    asyncio.run(sleep())
"""


def test_in_the_background_sigint_stays_ignored_and_sigterm_ends() -> None:
    """A script's `command &` starts it with SIGINT ignored, and asyncio's way out of a loop is SIGINT's."""
    command = [*IN_BACKGROUND, sys.executable, "-c", SHOUTING]
    with started(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("one\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ONE\n"
        process.send_signal(signal.SIGINT)
        process.stdin.write("two\n")
        process.stdin.close()
        assert process.stdout.readline() == "TWO\n"
        assert process.stdout.readline() == "ASLEEP\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143


def test_a_signal_while_a_child_is_being_started_ends_the_child_first(
    write: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    class InterruptedPopen(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self.pid)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", InterruptedPopen)
    with pytest.raises(KeyboardInterrupt):
        Child("echo", ["echo"], write, talks=True)
    assert [pid for pid in started if is_running(pid)] == []
