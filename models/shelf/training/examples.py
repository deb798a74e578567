"""The example pictures that are committed: scenes of the held-out pools at camera resolution."""

import json
from pathlib import Path

from models.shelf.training.corpus import CAMERA_SIZES, coco, save
from models.shelf.training.scenes import render

SEEDS = ((5027, 0), (5064, 0), (5079, 1), (5040, 1))
"""Seed of the test split and index of the size; chosen because all classes can be seen in them."""
LARGEST = 250_000


def write_examples(folder: Path) -> None:
    """Writes shelf-1.jpg to shelf-4.jpg, each at most 250 KB, and their COCO annotations."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, (seed, size) in enumerate(SEEDS, 1):
        scene, path = render("test", seed, CAMERA_SIZES[size]), folder / f"shelf-{number}.jpg"
        for quality in range(92, 40, -4):
            entry = save(scene, path, quality)
            if path.stat().st_size <= LARGEST:
                break
        entries.append(entry)
    (folder / "annotations.json").write_text(json.dumps(coco(entries), indent=1) + "\n")
