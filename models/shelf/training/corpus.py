"""Renders scenes into a folder of JPEG pictures with COCO annotations, and reads such data sets (anybody's) back."""

import json
import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import track

from app.errors import RequestError
from app.vision import image
from models.shelf.training.arrays import CLASSES, F64, U8
from models.shelf.training.coco import DataRefused, read_coco
from models.shelf.training.jpeg import encode
from models.shelf.training.pools import Split
from models.shelf.training.scenes import Scene, render

Job = tuple[Split, int, tuple[int, int], Path, int]
TRAIN_SIZES = ((640, 360), (640, 360), (640, 360), (640, 480))
CAMERA_SIZES = ((1280, 720), (1920, 1080))
LONGEST = 640
"""Longer side at which pictures are kept for training; larger ones are shrunk."""


def write_corpus(split: Split, seeds: range, sizes: tuple[tuple[int, int], ...], folder: Path, processes: int) -> Path:
    """Renders one picture a seed (JPEG, quality 92, sizes in turn) and `annotations.json`; returns that file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs: list[Job] = [(split, seed, sizes[seed % len(sizes)], folder, 92) for seed in seeds]
    with multiprocessing.get_context("spawn").Pool(processes) as workers:
        done = list(track(workers.imap(_write, jobs, chunksize=8), f"rendering {split}", len(jobs)))
    path = folder / "annotations.json"
    path.write_text(json.dumps(coco(done), separators=(",", ":")))
    return path


def _write(job: Job) -> dict[str, Any]:
    split, seed, size, folder, quality = job
    cv2.setNumThreads(1)
    return save(render(split, seed, size), folder / f"{split}-{seed:06d}.jpg", quality)


def save(scene: Scene, path: Path, quality: int) -> dict[str, Any]:
    """Writes the picture and returns its COCO image entry, with its annotations under `annotations`."""
    path.write_bytes(encode(scene.image, quality))
    found = []
    for truth in scene.truths:
        x1, y1, x2, y2 = truth.box
        found.append(
            {
                "category_id": truth.kind + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": int(truth.ignore),
                "hidden": int(truth.hidden),
                "visible": round(truth.visible, 3),
                **({"text": truth.text, "format": truth.format} if truth.text else {}),
            }
        )
    height, width = scene.image.shape[:2]
    return {"file_name": path.name, "width": width, "height": height, "annotations": found}


def coco(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """One COCO document from the entries that `save` returned, numbered from 1."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, entry in enumerate(entries, 1):
        images.append({"id": number, **{key: value for key, value in entry.items() if key != "annotations"}})
        for annotation in entry["annotations"]:
            annotations.append({"id": len(annotations) + 1, "image_id": number, **annotation})
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


class Corpus:
    """A COCO data set on disk: pictures as files, boxes as arrays; `read_coco` says what is refused.

    `unpack` decodes everything once, so that training is not a decoder's benchmark.
    """

    def __init__(self, annotations: Path, labels: Mapping[str, str] | None = None) -> None:
        checked = read_coco(annotations, labels)
        self.annotations = [checked.path]
        self.files, self.objects = checked.files, checked.objects()
        self.unpacked: Path | None = None
        self._shares: list[tuple[int, float | None]] = [(len(self.files), None)]
        self._shapes: list[tuple[int, int]] = []
        self._pixels: np.memmap[Any, np.dtype[np.uint8]] | None = None

    def extend(self, other: "Corpus", share: float | None = None) -> None:
        """Adds the pictures of another data set, which are the part `share` of all that are drawn, 0 to 1.

        Without one, each picture is drawn as often as those of this set.
        """
        if share is not None:
            self._shares = [(len(self), 1 - share), (len(other), share)]
        else:
            self._shares = [(len(self) + len(other), None)]
        self.annotations += other.annotations
        self.files += other.files
        self.objects += other.objects

    def unpack(self, path: Path) -> None:
        """Decodes every picture into the file `path`, at most `LONGEST` pixels long; boxes shrink with them."""
        self.unpacked, self._shapes, self._pixels = None, [], None
        with path.open("wb") as file:
            for index, objects in enumerate(track(self.objects, "decoding")):
                pixels = self.picture(index)
                scale = LONGEST / max(pixels.shape[:2])
                if scale < 1:
                    shrunk = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                    pixels = np.asarray(shrunk, np.uint8)
                    objects[:, :4] *= scale
                file.write(pixels.tobytes())
                self._shapes.append((pixels.shape[0], pixels.shape[1]))
        self.unpacked = path

    def weights(self, common: float = 0.6) -> F64:
        """How often each picture should be drawn, float64 [N], sum 1: more often the rarer its rarest class.

        Repeat factors of Gupta et al., 2019 (arXiv:1908.03195), for classes in less than `common` of the pictures.
        """
        has = np.zeros((len(self), len(CLASSES)), bool)
        for index, objects in enumerate(self.objects):
            has[index, objects[objects[:, 5] == 0, 4].astype(int)] = True
        factor = np.maximum(1.0, np.sqrt(common / np.maximum(has.mean(0), 1e-3)))
        weight = np.where(has, factor, 1.0).max(1)
        start = 0
        for count, share in self._shares:
            part = slice(start, start + count)
            weight[part] *= 1.0 if share is None else share / weight[part].sum()
            start += count
        return np.asarray(weight / weight.sum(), np.float64)

    def __len__(self) -> int:
        return len(self.files)

    def picture(self, index: int) -> U8:
        """Picture `index`, RGB uint8 [H, W, 3]."""
        if self.unpacked is None:
            return self._decoded(self.files[index])
        if self._pixels is None:
            self._pixels = np.memmap(self.unpacked, np.uint8, "r")
            self._starts = np.cumsum([0] + [3 * height * width for height, width in self._shapes])
        start, stop = self._starts[index : index + 2]
        return self._pixels[start:stop].reshape(*self._shapes[index], 3)

    @staticmethod
    def _decoded(path: Path) -> U8:
        """As the service decodes it, which refuses what is cut off."""
        packed = path.read_bytes()
        try:
            return image.decode(packed, image.read_header(packed)).pixels
        except RequestError as error:
            raise DataRefused(f"{path} cannot be decoded: {error}") from None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pixels": None}
