"""Small data sets for the tests of training: drawn scenes, and anybody's annotations."""

import json
from pathlib import Path
from typing import Any

from models.shelf.training.corpus import coco, save
from models.shelf.training.pools import Split
from models.shelf.training.scenes import render


def drawn(folder: Path, seeds: range, split: Split = "train", size: tuple[int, int] = (320, 180)) -> Path:
    """A data set of drawn scenes, a picture a seed; returns its file of annotations."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = [save(render(split, seed, size), folder / f"{split}-{seed}.jpg", 90) for seed in seeds]
    return written(folder, coco(entries))


def written(folder: Path, document: dict[str, Any]) -> Path:
    """Writes the document, a line for each of its elements' fields."""
    path = folder / "annotations.json"
    path.write_text(json.dumps(document, indent=1))
    return path
