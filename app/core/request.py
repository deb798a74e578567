"""What goes into the core and what comes out."""

import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from opentelemetry.trace import SpanContext

from app.telemetry.tracing import BatchTrace
from app.vision.image import ImageHeader, Size
from app.vision.tasks import Options


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
class InferenceRequest:
    """One picture to be understood. `image` is encoded; `model` and `version` None mean the default ones."""

    image: bytes
    request_id: str
    model: str | None = None
    version: str | None = None
    options: Options = field(default_factory=Options)
    deadline: Deadline | None = None
    source: str = "http"
    flow: Flow = EVEN


@dataclass(frozen=True, slots=True)
class AdmittedRequest:
    """A request that passed the door, with what was read of its picture there and the trace that it belongs to."""

    request: InferenceRequest
    header: ImageHeader
    trace: SpanContext | None = None


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


@dataclass(frozen=True, slots=True)
class Answer:
    """What a lane makes of one picture. `prediction` is the task's own type; `batch` is what it was computed in.

    `queued_at` and `ended_at` are moments on `time.monotonic`'s clock.
    """

    prediction: Any
    image_size: Size
    batch_size: int
    timings: Timings
    batch: BatchTrace
    queued_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """The answer to one request.

    `labels` are all that the model knows, in its order; `image_size` is the upright original's; `total` is seconds from
    arrival to answer.
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
