"""Pictures that are, to the eye, in the training data and in the held-out data: what is measured on them says nothing.

Each picture is hashed by the signs of its brightness gradients ("dHash") on a grid of 16 by 16: 256 bits that scaling,
recompression and small changes of brightness leave nearly the same.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.shelf.training.coco import DataRefused

GRID = 16
NEAR = 14
"""Bits of 256 that the same picture may differ by."""
_SHOWN = 10

Hashes = NDArray[np.uint64]
"""uint64 [N, 4], a row a picture."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The pictures of a data set: their files, perceptual hashes, and one SHA-256 of all of their bytes."""

    files: list[str]
    hashes: Hashes
    digest: str

    def save(self, path: Path) -> None:
        """Writes it as a NumPy archive."""
        with path.open("wb") as file:
            np.savez(file, files=np.array(self.files), hashes=self.hashes, digest=np.array(self.digest))

    @classmethod
    def load(cls, path: Path) -> "Seen":
        """What `save` wrote."""
        with np.load(path) as kept:
            return cls([str(name) for name in kept["files"]], kept["hashes"], str(kept["digest"]))


def look(annotations: Sequence[Path], files: Sequence[Path]) -> Seen:
    """Hashes the pictures, and digests them and the files of annotations. Raises `DataRefused` for what is none."""
    total = hashlib.sha256()
    for path in annotations:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    hashes = np.zeros((len(files), GRID * GRID // 64), np.uint64)
    for row, path in zip(hashes, files, strict=True):
        packed = path.read_bytes()
        total.update(hashlib.sha256(packed).digest())
        row[:] = perceptual_hash(packed, path)
    return Seen([str(path) for path in files], hashes, total.hexdigest())


def perceptual_hash(packed: bytes, path: Path) -> Hashes:
    """uint64 [4] of an encoded picture; a large JPEG is decoded at a quarter, which is far more than the grid."""
    grey = cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_4)
    if grey is None:
        raise DataRefused(f"{path} cannot be decoded: it is no picture, or was cut off. Take it out, or bring it anew.")
    small = cv2.resize(grey, (GRID + 1, GRID), interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.packbits(small[:, 1:] > small[:, :-1]).view(np.uint64)


def refuse_shared(training: Seen, held_out: Seen) -> None:
    """Raises `DataRefused`, which names pairs, where a held-out picture is in the training data, too."""
    pairs = shared(training.hashes, held_out.hashes)
    if pairs:
        lines = [
            f"{held_out.files[two]} is {training.files[one]} ({bits} of 256 bits differ)" for one, two, bits in pairs
        ]
        if len(lines) > _SHOWN:
            lines[_SHOWN:] = [f"… and {len(lines) - _SHOWN} more"]
        head = f"{len(pairs)} held-out pictures are in the training data, too. Take them out of one of both:"
        raise DataRefused("\n".join([head, *lines]))


def shared(training: Hashes, held_out: Hashes) -> list[tuple[int, int, int]]:
    """Of each held-out picture that was trained on: its nearest one there, itself, and how many bits differ."""
    found = []
    for index, row in enumerate(held_out):
        distance = np.bitwise_count(training ^ row).sum(1)
        if len(distance) and distance.min() <= NEAR:
            found.append((int(distance.argmin()), index, int(distance.min())))
    return found
