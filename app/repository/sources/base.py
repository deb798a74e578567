"""What a place that models come from can do; each kind of place is a file beside this one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from app.errors import ModelsUnavailable

PIECE_BYTES = 4 * 2**20
"""How much is read, and held in memory, at a time."""


class Interrupted(ModelsUnavailable):
    """The connection ended, or the place asked for patience: to be tried again, from where it was."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a place, before it is read.

    `path` is its place in a repository, with slashes (`shelf/1/model.onnx`), and as hostile as the place is. `size` is
    in bytes. `stamp` is another one whenever the content is (an ETag, a digest). `sha256` and `md5` are digests in
    hexadecimal, where the place keeps them.
    """

    path: str
    size: int
    stamp: str
    sha256: str | None = None
    md5: str | None = None


class Source(Protocol):
    """A place that models are read from. All that it says is checked by who asks."""

    @property
    def address(self) -> str:
        """What the user calls it; never with a secret."""

    def files(self) -> list[SourceFile]:
        """All files of all models; raises `ModelsUnavailable` or `ModelsRefused`."""

    def read(self, file: SourceFile, offset: int) -> Iterator[bytes]:
        """The file's content from `offset` on, in pieces of at most `PIECE_BYTES`.

        Raises `Interrupted` where the connection ends, `ModelsRefused` where the content is no more the one that was
        listed, and `ModelsUnavailable`.
        """

    def close(self) -> None:
        """Let go of connections."""


@runtime_checkable
class Target(Source, Protocol):
    """A place that models can be pushed to."""

    def write(self, path: str, content: Path, sha256: str, over: SourceFile | None) -> None:
        """Store a file whole or not at all: as a new one, or in place of `over` as that was listed.

        Raises `ModelsRefused` where somebody else has written there meanwhile, and `ModelsUnavailable`.
        """
