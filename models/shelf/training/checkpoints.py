"""Checkpoints of a run of training: whole or not there at all, and known by their digest.

A checkpoint's name has its step and the beginning of its SHA-256. It is written beside and moved into place; the one
before it is kept, for a disk that has damaged the last.
"""

import hashlib
import os
import re
import shutil
from pathlib import Path

from models.shelf.training.coco import DataRefused

KEPT = 2
_NAME = re.compile(r"checkpoint-(\d{7})-([0-9a-f]{16})\.pt")


class NotWritten(DataRefused):
    """A checkpoint could not be written: those before it are as they were."""


def write(folder: Path, step: int, content: bytes) -> Path:
    """Writes a checkpoint and removes all but `KEPT`; returns its path. Raises `NotWritten`."""
    digest = hashlib.sha256(content).hexdigest()[:16]
    path, part = folder / f"checkpoint-{step:07d}-{digest}.pt", folder / "checkpoint.part"
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        free = shutil.disk_usage(folder).free // 2**20
        kept = _all(folder)
        remains = f"{kept[0].name} remains" if kept else "there is none before it"
        raise NotWritten(
            f"{folder}: the checkpoint of step {step} ({len(content) // 2**20} MiB) was not written: {error.strerror}; "
            f"{free} MiB are free. Make room; {remains}."
        ) from error
    for old in _all(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def newest(folder: Path) -> tuple[bytes | None, list[str]]:
    """The content of the newest whole checkpoint, None where there is none, and what is said of damaged ones."""
    refused = []
    for path in _all(folder):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest().startswith(path.stem.rpartition("-")[2]):
            return content, refused
        refused.append(f"{path} is damaged (its SHA-256 is not that of its name) and is left aside.")
    return None, refused


def newest_path(folder: Path) -> Path:
    """The newest checkpoint. Raises `DataRefused` where there is none."""
    found = _all(folder)
    if not found:
        raise DataRefused(f"{folder} has no checkpoint: train first.")
    return found[0]


def _all(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("checkpoint-*.pt") if _NAME.fullmatch(path.name)), reverse=True)
