"""Models from a place into a repository on this machine: each arrives whole and checked, or what was there stays.

What comes lies in a hidden folder (`aside`) until it is put in place in one step.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import InvalidManifest, ModelsRefused, StartupError
from app.repository import repository
from app.repository.sources import aside as aside_folder
from app.repository.sources import files
from app.repository.sources.base import Source, SourceFile
from app.repository.sources.download import fetch, part_name
from app.repository.sources.paths import models_of
from app.repository.sources.receipts import Kept, Receipt, Receipts
from app.repository.sources.report import Report

if TYPE_CHECKING:
    from app.repository.signatures import Trust


@dataclass(frozen=True, slots=True)
class Pull:
    """What is wanted: the models named, or all; at most so many bytes; signed by somebody who is trusted, if `trust`.

    With `replace`, files that no pull has brought are replaced too; with `mirror`, models that an earlier pull has
    brought and the place has no more are removed.
    """

    names: Sequence[str] = ()
    replace: bool = False
    mirror: bool = False
    most_bytes: int = 2**35
    trust: "Trust | None" = None


@dataclass(slots=True)
class Pulled:
    """What came of it, by model."""

    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failures: dict[str, StartupError] = field(default_factory=dict)


def pull(source: Source, into: Path, wanted: Pull, report: Report) -> Pulled:
    """Have the models of `source` in the repository `into`; one that fails does not stop the others.

    Raises `ModelsUnavailable` where the place does not answer or the folder cannot be written, `ModelsRefused` where
    the place holds nothing that could be brought.
    """
    models = models_of(source.files(), source.address, wanted.names)
    total = sum(file.size for inside in models.values() for file in inside.values())
    if total > wanted.most_bytes:
        raise ModelsRefused(
            f"{source.address} has models of {files.megabytes(total)}, and at most "
            f"{files.megabytes(wanted.most_bytes)} are pulled. Name fewer, or raise ROO_MODELS_BYTES."
        )
    with aside_folder.opened(into) as aside:
        job = _Job(source, into, aside, wanted, report, Receipts.read(aside / "receipts.json"))
        return job.run(models)


@dataclass(slots=True)
class _Job:
    source: Source
    into: Path
    aside: Path
    wanted: Pull
    report: Report
    receipts: Receipts

    def run(self, models: dict[str, dict[str, SourceFile]]) -> Pulled:
        done = Pulled()
        needed = {name: self._needed(name, inside) for name, inside in models.items()}
        missing = sum(file.size - self._arrived(file) for some in needed.values() for file in some.values())
        self._refuse_too_much(missing)
        self.report.begin(missing)
        for name, inside in models.items():
            try:
                changed = self._bring(name, inside, needed[name])
            except (InvalidManifest, ModelsRefused) as error:
                done.failures[name] = error
                self.report.say(f"{name}: NOT pulled: {error}")
            else:
                (done.changed if changed else done.unchanged).append(name)
                self.report.say(f"{name}: {'pulled' if changed else 'is up to date'}")
        if self.wanted.mirror:
            self._remove_others(models, done)
        if not done.failures:
            shutil.rmtree(self.aside / "parts", ignore_errors=True)
        return done

    def _needed(self, name: str, inside: dict[str, SourceFile]) -> dict[str, SourceFile]:
        """The files that are not here as the place has them."""
        return {inner: file for inner, file in inside.items() if not self._is_here(name, inner, file)}

    def _is_here(self, name: str, inner: str, file: SourceFile) -> bool:
        path, known = self.into / name / inner, self.receipts.known(name, inner, self.source.address, file)
        return (
            known is not None
            and path.is_file()
            and not path.is_symlink()
            and path.stat().st_size == file.size
            and files.digest(path) == known
        )

    def _arrived(self, file: SourceFile) -> int:
        part = self._part(file)
        return part.stat().st_size if part.is_file() else 0

    def _refuse_too_much(self, missing: int) -> None:
        free = shutil.disk_usage(self.into).free
        if missing > free:
            raise files.NoRoom(
                f"{self.into} has {files.megabytes(free)} left, and the models need {files.megabytes(missing)} more: "
                "nothing was pulled. Make room, or choose another folder."
            )

    def _bring(self, name: str, inside: dict[str, SourceFile], needed: dict[str, SourceFile]) -> bool:
        """Returns whether anything had to be changed."""
        folder = self.into / name
        here = files.tree(folder)
        arrived, digests = self._fetched(name, inside, needed)
        if not needed and here.keys() == inside.keys():
            if self.wanted.trust is not None:  # it may have come when no keys were trusted, or others
                self._check(name, folder, digests)
            return False
        self._refuse_foreign(name, here, digests)
        new = self.aside / "new" / name
        _gather(new, arrived, {inner: here[inner] for inner in inside if inner not in needed})
        self._check(name, new, digests)
        files.flush(new)
        old = self.aside / "old" / name
        files.put_in_place(new, folder, old)
        kept = {inner: Kept(file.stamp, file.size, digests[inner]) for inner, file in inside.items()}
        self.receipts.models[name] = Receipt(self.source.address, kept)
        self.receipts.write()
        shutil.rmtree(old, ignore_errors=True)
        return True

    def _fetched(
        self, name: str, inside: dict[str, SourceFile], needed: dict[str, SourceFile]
    ) -> tuple[dict[str, Path], dict[str, str]]:
        """Where the files that had to come are, and the SHA-256 of all files of the model."""
        arrived, digests = {}, {}
        for inner, file in inside.items():
            if inner in needed:
                arrived[inner] = self._part(file)
                digests[inner] = fetch(self.source, file, arrived[inner], self.report)
            else:
                digests[inner] = str(self.receipts.known(name, inner, self.source.address, file))
        return arrived, digests

    def _part(self, file: SourceFile) -> Path:
        return self.aside / "parts" / part_name(self.source, file)

    def _refuse_foreign(self, name: str, here: dict[str, Path], digests: dict[str, str]) -> None:
        """What no pull has put there is somebody's work, and stays."""
        brought = self.receipts.brought(name)
        for inner, path in here.items() if not self.wanted.replace else ():
            if files.digest(path) not in (digests.get(inner), brought.get(inner)):
                raise ModelsRefused(
                    f"{path} is not what {self.source.address} has there, and no pull has brought it. Move it away, or "
                    "have it replaced with --replace."
                )

    def _check(self, name: str, new: Path, digests: dict[str, str]) -> None:
        """The model as it would be served, before it is; errors name where it comes from."""
        try:
            repository.check_folder(
                new, self.wanted.trust, digest=lambda path: digests[path.relative_to(new).as_posix()]
            )
        except InvalidManifest as error:
            raise type(error)(str(error).replace(str(new), f"{self.source.address}/{name}")) from error

    def _remove_others(self, models: dict[str, dict[str, SourceFile]], done: Pulled) -> None:
        for name in [name for name in self.receipts.models if name not in models]:
            old = self.aside / "old" / name
            old.parent.mkdir(exist_ok=True)
            if (self.into / name).exists():
                (self.into / name).rename(old)
            del self.receipts.models[name]
            self.receipts.write()
            shutil.rmtree(old, ignore_errors=True)
            done.removed.append(name)
            self.report.say(f"{name}: removed, {self.source.address} has it no more")


def _gather(new: Path, arrived: Mapping[str, Path], here: Mapping[str, Path]) -> None:
    """A model's folder of files that have arrived, which are moved, and of those that are here, which are shared."""
    for inner, path in (*arrived.items(), *here.items()):
        (new / inner).parent.mkdir(parents=True, exist_ok=True)
        if inner in arrived:
            path.rename(new / inner)
        else:
            _share(path, new / inner)


def _share(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:  # a file system without links
        shutil.copyfile(path, other)
