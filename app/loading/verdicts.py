"""What trials of int8 have found since the start, so that who comes again is not tried again."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

KEPT = 256
"""Verdicts; the oldest ones go."""

Key = tuple[object, ...]
"""All that bears on a trial."""


class Verdict(NamedTuple):
    """Whether int8 is as good as fp32 and faster, and what speaks for it or against."""

    passed: bool
    reason: str


class Verdicts:
    """Verdicts by what was tried; those of this process, and so of one machine and one version of each engine."""

    def __init__(self) -> None:
        self._found: OrderedDict[Key, Verdict] = OrderedDict()

    def of(self, key: Key, trial: Callable[[], Verdict]) -> Verdict:
        """The verdict on what `key` says, by `trial` where there is none yet; what that raises is raised, not kept."""
        if key not in self._found:
            self._found[key] = trial()
        self._found.move_to_end(key)
        while len(self._found) > KEPT:
            self._found.popitem(last=False)
        return self._found[key]


def digests(files: Iterable[Path]) -> tuple[tuple[str, str], ...]:
    """The names and SHA-256 digests of these files."""
    found = []
    for path in files:
        with path.open("rb") as file:
            found.append((path.name, hashlib.file_digest(file, "sha256").hexdigest()))
    return tuple(found)
