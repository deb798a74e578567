"""A model tried on a picture, so that a person sees at once whether it is right."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from app.core.model import Model
from app.core.request import AdmittedRequest, InferenceRequest
from app.engines.base import Array
from app.errors import RequestError, StartupError
from app.repository.repository import PICTURE_SUFFIXES
from app.vision import drawing, image
from app.vision.classification import Classification
from app.vision.embedding import Embedding
from app.vision.image import ImageHeader, Picture
from app.vision.maps import Maps
from app.vision.preprocessing import Placement
from app.vision.segmentation import Segmentation
from app.vision.tasks import Options
from app.vision.text_detection import TextDetection
from app.vision.text_recognition import TextRecognition
from app.wire.prediction import AnyPrediction

_BEST = 3
OF_THE_MANIFEST = Options()


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture to try models on, and what it is called."""

    name: str
    data: bytes
    header: ImageHeader

    @property
    def picture(self) -> Picture:
        """All of its pixels."""
        return image.decode(self.data, self.header, None)


def read_sample(path: Path) -> Sample:
    """Read a picture; raises `StartupError` where that cannot be."""
    try:
        data = path.read_bytes()
        sample = Sample(str(path), data, image.read_header(data))
        _ = sample.picture
    except (OSError, RequestError) as error:
        raise StartupError(f"--try {path}: {error}") from None
    return sample


def bundled_sample(models_dir: Path) -> Sample:
    """The first example picture of a repository or, where it has none, one that is made up."""
    there = sorted(path for path in models_dir.glob("*/examples/*") if path.suffix.lower() in PICTURE_SUFFIXES)
    if there:
        return read_sample(there[0])
    data = image.specimen()
    return Sample("a made-up picture of coloured clouds", data, image.read_header(data))


@dataclass(frozen=True, slots=True)
class Trial:
    """What a model made of a sample: its graph's outputs, where the picture lies in its input, and the answer."""

    outputs: dict[str, Array]
    placement: Placement
    answer: AnyPrediction


def run(model: Model, sample: Sample) -> Trial:
    """Have a warm model answer; raises what `Model.prepare` and `Model.finish` raise."""
    admitted = AdmittedRequest(InferenceRequest(sample.data, request_id="try"), sample.header)
    row = model.rows_for(model.empty_batch()[:1], admitted)
    placement = model.prepare_row(admitted, row[0])
    (outputs,) = model.compute(row)
    return Trial(outputs, placement, model.finish(outputs, placement, admitted))


def draw(sample: Sample, prediction: AnyPrediction, target: Path) -> None:
    """Write the picture with the answer on it as a JPEG; raises `StartupError` where it cannot be written."""
    drawn = drawing.encode(drawing.draw(sample.picture, prediction), "image/jpeg")
    try:
        target.write_bytes(drawn)
    except OSError as error:
        raise StartupError(f"{target} cannot be written: {error.strerror}. Give another --drawn.") from None


def in_words(prediction: AnyPrediction) -> str:
    """How much was found, and the best of it."""
    if isinstance(prediction, Segmentation):
        parts = zip(prediction.labels, prediction.shares.tolist(), strict=True)
        return ", ".join(f"{label} {share:.0%}" for label, share in list(parts)[:_BEST]) or "nothing"
    if isinstance(prediction, Embedding):
        return f"a vector of {len(prediction.vector)} dimensions{', length 1' if prediction.normalized else ''}"
    if isinstance(prediction, Maps):
        files = zip(prediction.labels, prediction.files, strict=True)
        told = [f"{label} {file.minimum:.3g} to {file.maximum:.3g} {prediction.unit}" for label, file in files]
        return ", ".join(told[:_BEST])
    if isinstance(prediction, TextDetection):
        return f"{len(prediction.scores)} lines of text" if len(prediction.scores) else "nothing"
    if isinstance(prediction, TextRecognition):
        return f"{prediction.text} {prediction.score:.2f}" if prediction.text else "nothing"
    scored = list(zip(prediction.labels, prediction.scores.tolist(), strict=True))
    best = ", ".join(f"{label} {score:.2f}" for label, score in scored[:_BEST])
    if isinstance(prediction, Classification) or not scored:
        return best or "nothing"
    kinds = len(Counter(prediction.labels))
    return f"{len(scored)} object{'s' * (len(scored) > 1)} of {kinds} class{'es' * (kinds > 1)}; best {best}"


def found_something(prediction: AnyPrediction) -> bool:
    """Whether there is anything to look at."""
    if isinstance(prediction, Embedding):
        return True
    if isinstance(prediction, TextDetection):
        return len(prediction.scores) > 0
    if isinstance(prediction, TextRecognition):
        return bool(prediction.text)
    return len(prediction.labels) > 0
