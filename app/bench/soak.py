"""Many requests of mixed sizes, and what becomes of the service's memory."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from app.bench import load, pictures
from app.bench.contenders import Server

CONCURRENCY = 8
SAMPLES = 20
READINGS = 10
"""Memory is read so often for a sample: a single reading depends on which pictures are being decoded at that moment."""
MOST_GROWTH = 1.05
"""The last quarter's mean may be this times the first quarter's: allocators settle, leaks do not."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Mean resident memory, in MB, on the way to so many answers."""

    answered: int
    resident_mb: float


@dataclass(frozen=True, slots=True)
class Soak:
    """What the soak gave; the first sample is from before the first request."""

    requests: int
    samples: list[Sample]
    errors: int
    first_error: str | None

    @property
    def first_quarter_mb(self) -> float:
        """Mean resident memory during the first quarter of the requests, the one before them left out."""
        return self._mean(0, 0.25)

    @property
    def last_quarter_mb(self) -> float:
        """Mean resident memory during the last quarter of the requests."""
        return self._mean(0.75, 1)

    @property
    def growth(self) -> float:
        """The last quarter's memory over the first quarter's."""
        return self.last_quarter_mb / self.first_quarter_mb

    def _mean(self, above: float, up_to: float) -> float:
        low, high = above * self.requests, up_to * self.requests
        return statistics.fmean(sample.resident_mb for sample in self.samples if low < sample.answered <= high)


def run(server: Server, requests: int, on_answer: Callable[[int], None]) -> Soak:
    """Send `requests` pictures of many sizes and formats, taking `SAMPLES` of its memory on the way.

    Raises `StartupError` where the service ends on the way.
    """
    samples = [Sample(0, server.child.resident_mb())]
    step = max(1, requests // SAMPLES)
    readings: list[float] = []

    def watch(answered: int) -> None:
        if answered % max(1, step // READINGS) == 0:
            readings.append(server.child.resident_mb())
        if answered % step == 0:
            samples.append(Sample(answered, statistics.fmean(readings)))
            readings.clear()
            on_answer(answered)

    made = pictures.mixed(requests)
    posts = (load.post(server.predict_path, media_type, body) for media_type, body in made)
    errors, first_error = load.send(server.port, posts, CONCURRENCY, watch)
    server.child.check_alive()
    return Soak(requests, samples, errors, first_error)
