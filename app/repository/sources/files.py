"""Files and folders that a crash leaves whole: written, flushed to the disk, and moved into place in one step."""

import ctypes
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import ModelsUnavailable

_AT_FDCWD, _EXCHANGE = -100, 2
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class NoRoom(ModelsUnavailable):
    """The disk is full, or a file may not be so large."""


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """What cannot be written in the block is one sentence: `NoRoom`, or `ModelsUnavailable`."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            free = shutil.disk_usage(_existing(folder)).free
            raise NoRoom(
                f"{folder} has no room for the models ({error.strerror}; {megabytes(free)} are free): nothing of what "
                "was there has changed. Make room, or choose another folder."
            ) from error
        raise ModelsUnavailable(f"{folder} cannot be written: {error.strerror or error}.") from error


def digest(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def tree(folder: Path) -> dict[str, Path]:
    """The files below a folder by their path in it, with slashes."""
    found = {Path(parent, name) for parent, _, names in os.walk(folder) for name in names}
    return {path.relative_to(folder).as_posix(): path for path in sorted(found)}


def flush(folder: Path) -> None:
    """Have everything below a folder on the disk, before something is made to depend on it."""
    for parent, _, names in os.walk(folder):
        for name in names:
            _sync(Path(parent, name))
        _sync(Path(parent))


def put_in_place(new: Path, place: Path, old: Path) -> None:
    """Make the folder `new` the one at `place`; what was there is at `old` then. Both have to be in its file system.

    Where the file system can exchange two names, somebody who looks finds the one or the other at every moment, and so
    does who looks after a crash. Network file systems cannot; there the place is empty for a moment, and `bring_back`
    mends what a crash leaves then.
    """
    old.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        new.rename(place)
    elif _exchange(new, place):
        new.rename(old)
    else:
        place.rename(old)
        new.rename(place)
    _sync(place.parent)


def bring_back(olds: Path, root: Path) -> None:
    """Folders that a crash left without a successor go back to their places."""
    for old in olds.iterdir() if olds.is_dir() else ():
        if not (root / old.name).exists():
            old.rename(root / old.name)


def write_whole(path: Path, text: str) -> None:
    """A small file that has the whole text or what it had before."""
    aside = path.with_name(f"{path.name}.new")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 2**20:.1f} MiB"


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where this system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return bool(renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
