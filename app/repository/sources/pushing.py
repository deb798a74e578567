"""Models of a repository on this machine to a place that others pull from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from app.errors import ModelsRefused
from app.repository import repository
from app.repository.sources import files
from app.repository.sources.base import SourceFile, Target
from app.repository.sources.folder import Folder
from app.repository.sources.paths import DESCRIBE, models_of, version_of
from app.repository.sources.report import Report


@dataclass(slots=True)
class Pushed:
    """What came of it, by `MODEL/FILE`: written, there already, and there though it is not here."""

    written: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def push(root: Path, target: Target, names: Sequence[str], report: Report) -> Pushed:
    """Have the models of the repository `root`, or those named, at the target.

    A version's files are never overwritten by others, and nothing is removed. What describes a model comes last, so
    that who pulls meanwhile finds a model as it was or as it is. Raises `InvalidManifest` for a model that could not be
    served, `ModelsRefused` where a version there differs, and what the target raises.
    """
    here = models_of(Folder(root).files(), str(root), names)
    for name in here:
        repository.check_folder(root / name)
    there = {file.path: file for file in target.files()}
    digests = {
        f"{name}/{inner}": files.digest(root / name / inner) for name, inside in here.items() for inner in inside
    }
    same = {path for path, digest in digests.items() if path in there and _is(target, there[path], digest, root / path)}
    _refuse_others(target, [path for path in digests if path in there and path not in same])
    done = Pushed(unchanged=sorted(same), left=_left(here, there))
    fresh = sorted((path for path in digests if path not in same), key=_order)
    report.begin(sum((root / path).stat().st_size for path in fresh))
    for path in fresh:
        target.write(path, root / path, digests[path], there.get(path))
        report.advance((root / path).stat().st_size)
        report.say(f"{path}: pushed")
        done.written.append(path)
    return done


def _is(target: Target, file: SourceFile, digest: str, path: Path) -> bool:
    """Whether the file there has this content; read where its place does not tell."""
    if file.size != path.stat().st_size:
        return False
    if file.sha256 is not None:
        return file.sha256 == digest
    if file.md5 is not None:
        return file.md5 == files.digest(path, "md5")
    found = sha256()
    for piece in target.read(file, 0):
        found.update(piece)
    return found.hexdigest() == digest


def _refuse_others(target: Target, paths: Sequence[str]) -> None:
    wrong = [path for path in paths if version_of(path.partition("/")[2]) is not None]
    if wrong:
        raise ModelsRefused(
            f"{target.address} has another {', '.join(wrong[:5])}{' …' if wrong[5:] else ''}, and a version that is "
            "there is never overwritten: somebody may be serving it. Push yours as another version. Nothing was pushed."
        )


def _left(here: Mapping[str, Mapping[str, SourceFile]], there: Mapping[str, SourceFile]) -> list[str]:
    pairs = ((path, path.partition("/")) for path in there)
    return sorted(path for path, (name, _, inner) in pairs if name in here and inner not in here[name])


def _order(path: str) -> tuple[int, str]:
    inner = path.partition("/")[2]
    return (2 if inner in DESCRIBE else 1 if version_of(inner) is None else 0), path
