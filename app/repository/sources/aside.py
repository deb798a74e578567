"""The hidden folder of a repository in which a pull gathers what it brings.

`parts` holds files that have not arrived wholly, and outlives an interruption; `new` a model whose files are all there;
`old` what it has replaced; `receipts.json` what was brought. Nobody looks for models in it.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from app.repository.sources import files

NAME = ".pull"


@contextmanager
def opened(into: Path) -> Iterator[Path]:
    """The hidden folder of the repository `into`, which no other pull uses meanwhile; removed where nothing is left.

    What cannot be written in the block is raised as `files.written` does; where there is no room, nothing is left.
    """
    missing = [folder for folder in (into, *into.parents) if not folder.exists()]
    aside = into / NAME
    try:
        with files.written(into):
            lock = _lock(aside)
        with lock:
            try:
                with files.written(into):
                    _mend(aside, into)
                    yield aside
            except files.NoRoom:
                _remove(aside, "parts", "new")
                raise
            finally:
                _tidy(aside)
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def _lock(aside: Path) -> TextIO:
    """The lock of the folder; whoever waits for it finds the other's models a moment later."""
    while True:
        aside.mkdir(parents=True, exist_ok=True)
        lock = (aside / "lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if (aside / "lock").stat().st_ino == os.fstat(lock.fileno()).st_ino:
                return lock
        lock.close()  # who had it before has removed it


def _mend(aside: Path, into: Path) -> None:
    """Undo what a crash has left."""
    files.bring_back(aside / "old", into)
    _remove(aside, "new", "old")
    (aside / "parts").mkdir(exist_ok=True)


def _tidy(aside: Path) -> None:
    _remove(aside, "new", "old")
    with suppress(OSError):
        (aside / "parts").rmdir()  # where nothing is in it
    with suppress(OSError):
        if {path.name for path in aside.iterdir()} <= {"lock"}:
            shutil.rmtree(aside)


def _remove(aside: Path, *names: str) -> None:
    for name in names:
        shutil.rmtree(aside / name, ignore_errors=True)
