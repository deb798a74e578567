"""What goes into the core and what comes out."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from opentelemetry.trace import SpanContext

from app.core.working_memory import WorkingMemory
from app.engines.base import Array
from app.errors import RequestError
from app.telemetry.tracing import BatchTrace
from app.vision.image import FULL_RANGE, ImageHeader, Levels, Picture, Size
from app.vision.region import Region
from app.vision.tasks import DEFAULTS, Options


class Priority(StrEnum):
    """People before robots: interactive work enters the next batch first, bulk fills the free slots."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


@dataclass(frozen=True, slots=True)
class Flow:
    """Who waits in order of arrival with whom. Flows of one priority share the lanes' time by their weights."""

    name: str = ""
    weight: float = 1.0


EVEN = Flow()
"""The flow of whoever belongs to no other."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on `time.monotonic`'s clock after which an answer is of no use."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The moment so many seconds from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.at - time.monotonic()


@dataclass(frozen=True, slots=True)
class Caching:
    """What a caller allows of answers from before: none older than `max_age` seconds, 0 none at all; and whether its
    own may be kept for the next.
    """

    caller: str
    max_age: float = math.inf
    store: bool = True


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """One picture to be understood. `image` is encoded; `model` and `version` None mean the default ones.

    Requests with one `key`, a robot's for one, are answered by one version where several share the traffic; what has
    none goes by its `request_id`, so that its repetition meets the same version. Without `caching` it is computed.
    """

    image: bytes
    request_id: str
    model: str | None = None
    version: str | None = None
    options: Options = DEFAULTS
    deadline: Deadline | None = None
    source: str = "http"
    flow: Flow = EVEN
    key: str | None = None
    caching: Caching | None = None


@dataclass(frozen=True, slots=True)
class AdmittedRequest:
    """A request that passed the door, with what was read of its picture there and the trace that it belongs to."""

    request: InferenceRequest
    header: ImageHeader
    trace: SpanContext | None = None
    region: Region | None = None
    """The part that is asked about, where it is not all of the picture."""

    @property
    def size(self) -> Size:
        """Of the upright original, to which the answer's coordinates belong."""
        return self.header.upright

    @property
    def asked_size(self) -> Size:
        """Of what is asked about."""
        return self.header.upright if self.region is None else self.region.size


@dataclass(frozen=True, slots=True)
class TensorRequest:
    """Rows for a graph's own input, prepared by the caller: `rows` is `[n, …]`, n may be 0; `key` as a picture's."""

    rows: Array
    request_id: str
    model: str | None = None
    version: str | None = None
    deadline: Deadline | None = None
    source: str = "http"
    key: str | None = None


@dataclass(frozen=True, slots=True)
class AdmittedRow:
    """One row of a `TensorRequest` that passed the door; `row` is a view of the request's memory."""

    request: TensorRequest
    row: Array
    trace: SpanContext | None = None


@dataclass(frozen=True, slots=True)
class AdmittedCrop:
    """A decoded part of a request's picture, answered as if it were a picture by itself: `picture.size` is its own,
    and so are the coordinates of its prediction. `request.options` are the crop's.

    Its pixels are decoded as the model that is asked wants them: its levels, its alpha (see `Crops.cut`).
    """

    request: InferenceRequest
    picture: Picture
    trace: SpanContext | None = None

    @property
    def size(self) -> Size:
        """The crop's own."""
        return self.picture.size

    @property
    def asked_size(self) -> Size:
        """The same: all of it is asked about."""
        return self.picture.size


@dataclass(frozen=True, slots=True)
class LaneWork:
    """Work on a request's pixels that a lane does without computing: the answer's `prediction` is what `run` returns.

    It leaves its batch before the engine is asked. `run` may fail for it alone.
    """

    request: InferenceRequest
    run: Callable[[], Any]
    trace: SpanContext | None = None


Item = AdmittedRequest | AdmittedCrop | AdmittedRow | LaneWork
"""What a lane takes. All but `LaneWork` become one row of a batch each, and share batches."""
PictureItem = AdmittedRequest | AdmittedCrop
"""What is prepared from pixels."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time went, in seconds. `compute` is the whole batch's, because the picture waited for all of it; so is
    `prepare` where a GPU decodes and prepares batches, and `decode` is then 0.
    """

    queue: float
    decode: float
    prepare: float
    compute: float
    finish: float


NO_TIME = Timings(0.0, 0.0, 0.0, 0.0, 0.0)
"""Of what was not computed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a lane makes of one item. `batch` is what it was computed in.

    Of a picture or a crop, `prediction` is the task's own type, and `image_size` its own; of a row it is the output's
    rows by name, of a `LaneWork` what that returned, and `image_size` is None.
    `queued_at` and `ended_at` are moments on `time.monotonic`'s clock.
    """

    prediction: Any
    image_size: Size | None
    batch_size: int
    timings: Timings
    batch: BatchTrace
    queued_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class CropAnswer:
    """What one step says of one crop: a prediction, its boxes in pixels of the whole upright picture, or an error.

    `region` is the crop's place in that picture. Of a prediction that found things, `nested` has for each of them what
    other steps say, by their names; `labels` are all that the step's model knows.
    """

    region: Region
    labels: tuple[str, ...]
    prediction: Any = None
    error: RequestError | None = None
    nested: "Nested" = ()


Nested = Sequence[dict[str, CropAnswer]]
"""For each thing found, in their order: what was said of its crop, by step."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did for one request: of so many that were `found` to fit its conditions it `asked` about those, of
    which some `failed`; `limit` is the most that it would. `timings` are each crop's on average, `total` is from its
    first question to its last answer, in seconds.
    """

    name: str
    model: str
    version: str
    found: int
    asked: int
    failed: int
    limit: int
    timings: Timings
    total: float


@dataclass(frozen=True, slots=True)
class ChainResult:
    """All steps in the order of their file, and what they say of each thing that the first one found."""

    steps: Sequence[StepResult]
    nested: Nested


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """The answer to one request.

    `labels` are all that the model knows, in its order; `image_size` is the upright original's; `total` is seconds from
    arrival to answer; `options` are the request's, `region` is the part of the picture that it asked about, `tiles` how
    many that was divided into, where it was. `levels` and `memory` are what drawing on the picture asks of the model,
    which may be gone by then. `age` is in seconds where it was computed for another request, `timings` of which are 0.
    `chain` is what the other models of a chain say, where one was asked.
    """

    request_id: str
    model: str
    version: str
    labels: tuple[str, ...]
    prediction: Any
    image_size: Size
    batch_size: int
    timings: Timings
    total: float
    options: Options = DEFAULTS
    region: Region | None = None
    tiles: int | None = None
    levels: Levels = FULL_RANGE
    memory: WorkingMemory | None = None
    chain: ChainResult | None = None
    age: float | None = None


@dataclass(frozen=True, slots=True)
class TensorResult:
    """The answer to a `TensorRequest`: of each output, in the graph's order, one array a row, all of one shape."""

    request_id: str
    model: str
    version: str
    outputs: Mapping[str, Sequence[Array]]
