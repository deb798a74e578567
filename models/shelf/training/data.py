"""What a run of training learns from: gathered from everywhere, checked, decoded once, and known by a digest."""

import hashlib
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models.shelf.training.bring import local
from models.shelf.training.coco import DataRefused, annotations_in, read_coco
from models.shelf.training.corpus import CAMERA_SIZES, TRAIN_SIZES, Corpus, write_corpus
from models.shelf.training.duplicates import Seen, look, refuse_shared
from models.shelf.training.pools import Split

_READY, _KEY, _SEEN = "corpus.pickle", "corpus.key", "seen.npz"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which pictures to learn from.

    `data` are COCO files, folders, or addresses of containers; `labels` says which label a category is. `generated` is
    the share of drawn scenes among the pictures of a batch, 0 to 1, of which there are `scenes`; without data there are
    only those. No picture of `held_out`, files and folders again, may be among all of these.
    """

    data: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    generated: float = 0.0
    scenes: int = 7000
    held_out: tuple[str, ...] = ()
    processes: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.generated < 1:
            raise DataRefused(f"--generated {self.generated:g}: a share of 0 to less than 1; without --data it is all.")


def drawn(work: Path, split: Split, count: int, processes: int) -> Path:
    """The annotations of one data set of scenes, which is drawn unless it is there already."""
    path = work / split / "annotations.json"
    sizes = TRAIN_SIZES if split == "train" else CAMERA_SIZES
    return path if path.exists() else write_corpus(split, range(count), sizes, work / split, processes)


def prepare(wanted: Wanted, work: Path) -> Corpus:
    """Gathers everything in `work`, where other processes find it by `prepared`; what is there already is taken.

    Raises `DataRefused` for bad data and for held-out pictures that are in the training data, too.
    """
    work.mkdir(parents=True, exist_ok=True)
    places = [annotations_in(local(place, work / "data")) for place in wanted.data]
    scenes = [] if places and not wanted.generated else [drawn(work, "train", wanted.scenes, wanted.processes)]
    key = _key(wanted, [*places, *scenes])
    if (work / _READY).exists() and (work / _KEY).exists() and (work / _KEY).read_text() == key:
        return prepared(work)
    corpus = _gathered(wanted, places, scenes)
    seen = look(corpus.annotations, corpus.files)
    for place in wanted.held_out:
        other = read_coco(local(place, work / "data"), wanted.labels)
        refuse_shared(seen, look([other.path], other.files))
    corpus.unpack(work / "pictures.u8")
    seen.save(work / _SEEN)
    (work / _READY).write_bytes(pickle.dumps(corpus))
    (work / _KEY).write_text(key)
    return corpus


def prepared(work: Path) -> Corpus:
    """What `prepare` has made in `work`."""
    corpus: Corpus = pickle.loads((work / _READY).read_bytes())
    return corpus


def seen_in(work: Path) -> Seen:
    """The pictures that were learned from in `work`."""
    return Seen.load(work / _SEEN)


def _gathered(wanted: Wanted, places: list[Path], scenes: list[Path]) -> Corpus:
    first, *others = [Corpus(place, wanted.labels) for place in places or scenes]
    for other in others:
        first.extend(other)
    if places and scenes:
        first.extend(Corpus(scenes[0]), wanted.generated)
    return first


def _key(wanted: Wanted, annotations: list[Path]) -> str:
    """Another one whenever what is asked for, an annotation or a picture's file is another."""
    total = hashlib.sha256(repr(wanted).encode())
    for path in annotations:
        total.update(path.read_bytes())
        for folder, _, names in sorted(os.walk(path.parent)):
            for name in sorted(names):
                known = Path(folder, name).stat()
                total.update(f"{folder}/{name} {known.st_size} {known.st_mtime_ns}\n".encode())
    return total.hexdigest()
