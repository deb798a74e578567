"""The chain of `benchmarks.chains` as a loop without a server: what the machine could do at best."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from app.core.model import Model
from app.core.request import AdmittedCrop, AdmittedRequest, InferenceRequest
from app.engines import devices
from app.engines.base import Array
from app.host.process import usable_cores
from app.loading import loader
from app.loading.serving import Serving
from app.repository import repository
from app.vision import crops, image
from app.vision.region import region_of
from app.vision.tasks import Options

DETECTOR, CLASSIFIER = "shelf", "mobilenet"
CROPS = 20
_UNREAD = Options(read_barcodes=False)


def write_classifier(folder: Path) -> None:
    """torchvision's large MobileNetV3 with random weights as an entry of a repository; needs torch and torchvision."""
    import torch
    from torchvision.models import mobilenet_v3_large

    torch.manual_seed(0)
    path = folder / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    batch = torch.export.Dim("batch", min=1, max=256)
    torch.onnx.export(
        mobilenet_v3_large(weights=None).eval(),
        (torch.zeros(2, 3, 224, 224),),
        path,
        input_names=["image"],
        output_names=["scores"],
        dynamic_shapes=({0: batch},),
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    manifest = {
        "task": "classification",
        "labels": [f"class {number}" for number in range(1000)],
        "input": {"size": [224, 224], "resize": "stretch"},
        "batching": {"max_size": CROPS},
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest))


def pictures(root: Path) -> list[bytes]:
    """The detector's examples on which it finds at least as many things as are cut out."""
    entry = repository.read_model(root, DETECTOR)
    (detector,) = loader.load(entry, Serving(devices.choose("cpu", None)))
    shown = [path.read_bytes() for path in repository.folder_examples(root / DETECTOR)]
    row = detector.empty_batch()[:1]
    found = [content for content in shown if len(_detect(detector, content, row, 0)[1]) == CROPS]
    detector.close()
    return found


@dataclass(frozen=True, slots=True)
class Loop:
    """Both models, opened for a thread on each core."""

    detector: Model
    classifier: Model
    pictures: list[bytes]
    threads: int

    def measure(self, count: int, warm_seconds: float, seconds: float) -> float:
        """Pictures a second that so many threads together answer."""
        begins = time.perf_counter() + warm_seconds
        counts = [0] * count
        threads = [
            threading.Thread(target=self._work, args=(number, begins, begins + seconds, counts))
            for number in range(count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (time.perf_counter() - begins)  # what was under way at the end is waited for

    def _work(self, lane: int, begins: float, ends: float, counts: list[int]) -> None:
        row, batch = self.detector.empty_batch()[:1], self.classifier.empty_batch()
        number = lane
        while time.perf_counter() < ends:
            self._answer(self.pictures[number % len(self.pictures)], lane, row, batch)
            number += 1
            counts[lane] += begins <= time.perf_counter()
        self.detector.give_back(row)
        self.classifier.give_back(batch)

    def _answer(self, content: bytes, lane: int, row: Array, batch: Array) -> None:
        admitted, boxes = _detect(self.detector, content, row, lane)
        header = admitted.header
        whole = image.decode(content, header)
        regions = [region for box in boxes if (region := region_of(box, header.upright)) is not None]
        items = [AdmittedCrop(admitted.request, crops.cut(whole, region)) for region in regions]
        most = len(batch)
        for start in range(0, len(items), most):
            part = items[start : start + most]
            placed = [self.classifier.prepare_row(item, out) for item, out in zip(part, batch, strict=False)]
            outputs = self.classifier.compute(batch[: len(part)], lane)
            for rows, placement, item in zip(outputs, placed, part, strict=True):
                self.classifier.finish(rows, placement, item)


@contextmanager
def running(root: Path, shown: list[bytes]) -> Iterator[Loop]:
    """The loop's models, as the service would open them, for batches of all of a picture's crops."""
    cores = usable_cores()
    serving = Serving(devices.choose("cpu", None), lanes=cores)
    (detector,) = loader.load(repository.read_model(root, DETECTOR), serving)
    entry = repository.read_model(root, CLASSIFIER)
    (classifier,) = loader.load(entry, serving)
    try:
        yield Loop(detector, classifier, shown, cores)
    finally:
        detector.close()
        classifier.close()


def _detect(detector: Model, content: bytes, row: Array, lane: int) -> tuple[AdmittedRequest, list[list[float]]]:
    """The best boxes of a picture."""
    admitted = AdmittedRequest(InferenceRequest(content, "loop", options=_UNREAD), image.read_header(content))
    placement = detector.prepare_row(admitted, row[0])
    (rows,) = detector.compute(row, lane)
    return admitted, detector.finish(rows, placement, admitted).boxes[:CROPS].tolist()
