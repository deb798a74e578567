"""Models in a folder: another disk, a share, a volume."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from app.errors import ModelsRefused, ModelsUnavailable
from app.repository.sources.base import PIECE_BYTES, SourceFile


class Folder:
    """A repository in a folder, which need not be there yet where it is pushed to."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def address(self) -> str:
        """The folder's path."""
        return str(self._root)

    def files(self) -> list[SourceFile]:
        """The files below it, hidden folders at the top left aside; a link to a file must not lead out of it."""
        if not self._root.exists():
            return []
        if not self._root.is_dir():
            raise ModelsUnavailable(f"{self._root} is not a folder.")
        try:
            return [self._described(path) for path in self._paths()]
        except OSError as error:
            raise ModelsUnavailable(f"{self._root} cannot be read: {error}.") from error

    def read(self, file: SourceFile, offset: int) -> Iterator[bytes]:
        """The file's content from `offset` on."""
        path = self._root / file.path
        try:
            if self._described(path).stamp != file.stamp:
                raise ModelsRefused(f"{path} changed while it was read. Pull again.")
            with path.open("rb") as content:
                content.seek(offset)
                while piece := content.read(PIECE_BYTES):
                    yield piece
        except OSError as error:
            raise ModelsUnavailable(f"{path} cannot be read: {error.strerror or error}.") from error

    def write(self, path: str, content: Path, sha256: str, over: SourceFile | None) -> None:
        """Copy a file to its place, which has the whole of it or nothing."""
        target = self._root / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".push-", delete=False) as aside:
                try:
                    with content.open("rb") as file:
                        shutil.copyfileobj(file, aside, PIECE_BYTES)
                    aside.flush()
                    os.fsync(aside.fileno())
                    os.chmod(aside.name, 0o644)
                    self._move(Path(aside.name), target, over)
                finally:
                    Path(aside.name).unlink(missing_ok=True)
        except OSError as error:
            raise ModelsUnavailable(f"{target} cannot be written: {error.strerror or error}.") from error

    def close(self) -> None:
        """Nothing is held."""

    def _move(self, aside: Path, target: Path, over: SourceFile | None) -> None:
        if over is None:
            try:
                os.link(aside, target)  # fails where the name is taken, which a rename would not
            except FileExistsError:
                raise ModelsRefused(f"Somebody else has written {target} meanwhile. Push again.") from None
        elif self._described(target).stamp != over.stamp:
            raise ModelsRefused(f"Somebody else has written {target} meanwhile. Push again.")
        else:
            os.replace(aside, target)

    def _paths(self) -> Iterator[Path]:
        for folder in sorted(self._root.iterdir()):
            if folder.name.startswith("."):
                continue
            if not folder.is_dir():
                yield folder
            for parent, folders, names in os.walk(folder):
                for linked in filter(os.path.islink, (os.path.join(parent, name) for name in folders)):
                    raise ModelsRefused(f"{linked} is a link to a folder. Put the folder itself there.")
                yield from (Path(parent, name) for name in sorted(names))

    def _described(self, path: Path) -> SourceFile:
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise ModelsRefused(f"{path} is a link that leads out of {self._root}. Put the file itself there.")
        known = path.stat()
        stamp = f"{known.st_ino}-{known.st_mtime_ns}-{known.st_size}"
        return SourceFile(path.relative_to(self._root).as_posix(), known.st_size, stamp)
