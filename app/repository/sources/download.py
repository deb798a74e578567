"""One file of a place onto the disk: in pieces, from where an earlier try ended, and checked."""

import hashlib
import time
from pathlib import Path

from app.errors import ModelsRefused
from app.repository.sources.base import Interrupted, Source, SourceFile
from app.repository.sources.files import digest, megabytes
from app.repository.sources.report import Report

_PAUSES = (0.5,)
"""Seconds before each further try that follows one without a single byte; clients try several times by themselves."""


def part_name(source: Source, file: SourceFile) -> str:
    """The name of the file for the time being: another one where the content is another."""
    what = "\n".join((source.address, file.path, file.stamp, str(file.size)))
    return hashlib.sha256(what.encode()).hexdigest()


def fetch(source: Source, file: SourceFile, part: Path, report: Report) -> str:
    """Have the whole file at `part`; returns its SHA-256.

    What is there already is gone on from. Raises `ModelsRefused` where the digest is not the one that the place keeps,
    which removes the file; what the place raises; `OSError`.
    """
    failures = 0
    while (there := _size(part)) < file.size:
        try:
            _append(source, file, part, there, report)
            raise Interrupted(f"{source.address}/{file.path} ended before it was whole.")
        except Interrupted as error:
            if _size(part) == file.size:
                break
            failures = 0 if _size(part) > there else failures + 1
            if failures > len(_PAUSES):
                raise Interrupted(
                    f"{str(error).rstrip('.')}. {megabytes(_size(part))} of {megabytes(file.size)} have arrived; pull "
                    "again to go on from there."
                ) from error
            time.sleep(_PAUSES[max(failures - 1, 0)])
    part.touch()
    return _checked(source, file, part)


def _append(source: Source, file: SourceFile, part: Path, there: int, report: Report) -> None:
    with part.open("ab") as out:
        for piece in source.read(file, there):
            there += len(piece)
            if there > file.size:
                out.truncate(0)
                raise ModelsRefused(f"{source.address}/{file.path} has more bytes than the {file.size} of its listing.")
            out.write(piece)
            report.advance(len(piece))


def _checked(source: Source, file: SourceFile, part: Path) -> str:
    found = digest(part)
    for algorithm, wanted in (("sha256", file.sha256), ("md5", file.md5)):
        have = found if algorithm == "sha256" or wanted is None else digest(part, algorithm)
        if wanted is not None and have != wanted:
            part.unlink()
            raise ModelsRefused(
                f"{source.address}/{file.path} has the {algorithm} {have}, and should have {wanted}. Push it again."
            )
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
