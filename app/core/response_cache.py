"""Answers that were computed a while ago, for who asks the same again: bounded, and off where nobody sets its size.

An answer is another caller's affair where callers are told apart, and the model's that computed it: that is known by
its loading and not by its name, so that a version whose files, manifest or precision changed never answers from before.
Used by the event loop alone.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import NamedTuple

from app.core.memory_size import held_bytes
from app.core.model import Model
from app.core.request import NO_TIME, Caching, InferenceRequest, InferenceResult
from app.telemetry import metrics
from app.vision.tasks import Options

ENTRY_BYTES = 1024
"""What an entry takes beside its prediction: its key, its place in the order."""
LARGE_BYTES = 2**20
"""A picture's digest takes two milliseconds a megabyte: a larger one's is computed in a thread."""


class Key(NamedTuple):
    """What two requests have in common that may have one answer."""

    caller: str
    loading: int
    options: Options
    digest: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer without what is its model's; `kept_at` is on `time.monotonic`'s clock, `held` its bytes of memory."""

    result: InferenceResult
    kept_at: float
    held: int

    @property
    def age(self) -> float:
        """Seconds since it was computed."""
        return time.monotonic() - self.kept_at

    def answer_to(self, request: InferenceRequest, model: Model, started: float) -> InferenceResult:
        """It, as the answer to a request that came at `started`."""
        return replace(
            self.result,
            request_id=request.request_id,
            labels=model.task.labels,
            memory=model.memory,
            timings=NO_TIME,
            total=time.monotonic() - started,
            age=self.age,
        )


class ResponseCache:
    """Of all answers that fit into `most_bytes`, those that were asked for last; none is older than `seconds`."""

    def __init__(self, most_bytes: int, seconds: float, *, per_caller: bool) -> None:
        """`per_caller`: whether an answer is only for who sent its picture."""
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._per_caller = per_caller
        self._entries: OrderedDict[Key, Kept] = OrderedDict()
        self.held = 0
        """Bytes of memory that they take together."""

    def __len__(self) -> int:
        return len(self._entries)

    async def key_of(self, request: InferenceRequest, caching: Caching, model: Model) -> Key:
        """By which the answer to a request is found."""
        large = len(request.image) > LARGE_BYTES
        digest = await asyncio.to_thread(_digest, request.image) if large else _digest(request.image)
        return Key(caching.caller if self._per_caller else "", model.loading, request.options, digest)

    def find(self, key: Key, caching: Caching, model: Model) -> Kept | None:
        """The answer, where there is one that the caller takes; it has then been asked for last. Counts what it was."""
        kept = self._entries.get(key)
        if kept is not None and kept.age > self._seconds:
            self._drop(key)
            kept = None
        if caching.max_age <= 0:
            kept, outcome = None, "bypass"
        elif kept is None or kept.age > caching.max_age:
            kept, outcome = None, "miss"
        else:
            outcome = "hit"
            self._entries.move_to_end(key)
        metrics.response_cache.add(1, (model.name, model.version, outcome))
        return kept

    def keep(self, key: Key, caching: Caching, result: InferenceResult) -> None:
        """Keep an answer for the next who asks, where its caller lets it be kept and it is not too large."""
        if not caching.store:
            return
        result = replace(result, request_id="", labels=(), memory=None)
        held = held_bytes(result) + ENTRY_BYTES
        if key in self._entries:
            self._drop(key)
        if held > self._most_bytes:
            return
        self._entries[key] = Kept(result, time.monotonic(), held)
        self.held += held
        while self.held > self._most_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Key) -> None:
        self.held -= self._entries.pop(key).held


def _digest(image: bytes) -> bytes:
    return hashlib.sha256(image).digest()
