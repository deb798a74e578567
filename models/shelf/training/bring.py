"""Data sets and checkpoints that lie elsewhere (`azblob://…`), brought beside the others by the models' own sources."""

import hashlib
import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path, PurePosixPath

from rich.console import Console

from app.repository.sources.addresses import open_source
from app.repository.sources.base import Source, SourceFile
from app.repository.sources.download import fetch
from app.repository.sources.receipts import Kept, Receipt, Receipts
from models.shelf.training.coco import DataRefused

_LISTED = "brought.json"


class _Quiet:
    def begin(self, total: int) -> None:
        """Nothing is shown."""

    def advance(self, count: int) -> None:
        """Nothing is shown."""

    def say(self, line: str) -> None:
        """Nothing is shown."""


QUIET = _Quiet()


def local(place: str, into: Path) -> Path:
    """The folder or file on this machine: `place` itself or, where it is an address, a copy of it below `into`.

    What was brought before, and is the same there, does not come again. Raises `DataRefused`, and what sources raise.
    """
    if "://" not in place:
        return Path(place)
    with closing(open_source(place)) as source:
        folder = into / hashlib.sha256(source.address.encode()).hexdigest()[:16]
        files = source.files()
        if not files:
            raise DataRefused(f"{source.address}: there is nothing below it.")
        folder.mkdir(parents=True, exist_ok=True)
        receipts = Receipts.read(folder / _LISTED)
        known = receipts.models.get("data", Receipt(source.address, {})).files
        kept = {file.path: _bring(source, file, folder, known) for file in files}
        receipts.models["data"] = Receipt(source.address, kept)
        receipts.write()
        Console().print(f"{source.address}: {len(kept)} files in {folder}")
    return folder


def _bring(source: Source, file: SourceFile, folder: Path, known: Mapping[str, Kept]) -> Kept:
    path = PurePosixPath(file.path)
    if path.is_absolute() or ".." in path.parts or "\\" in file.path:
        raise DataRefused(f"{source.address}: the name {file.path[:200]!r} leads out of the folder.")
    target = folder / path
    before = known.get(file.path)
    if before is not None and (before.stamp, before.size) == (file.stamp, file.size) and target.is_file():
        return before
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    digest = fetch(source, file, part, QUIET)
    os.replace(part, target)
    return Kept(file.stamp, file.size, digest)
