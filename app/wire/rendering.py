"""The answer as a picture: what was sent, with the predictions drawn in."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from app.core.request import Deadline
from app.core.working_memory import UNBOUNDED, WorkingMemory
from app.errors import DeadlineExceeded, NotAcceptable
from app.vision import drawing, image
from app.vision.drawing_memory import drawing_bytes
from app.vision.image import FULL_RANGE, ImageHeader, Levels
from app.wire.notes import Notes
from app.wire.prediction import AnyPrediction

DrawnType = Literal["image/jpeg", "image/png"]


class Renderer:
    """Draws answers beside the event loop, `workers` of them at a time.

    Each takes at most `drawing_memory.drawing_bytes`. What nobody waits for any more is not begun, and what is under
    way then ends after its next step: so that, for that long, up to `workers` drawings outlive their callers.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="renderer")

    async def draw(
        self,
        data: bytes,
        header: ImageHeader,
        prediction: AnyPrediction | None,
        media_type: DrawnType,
        deadline: Deadline,
        levels: Levels = FULL_RANGE,
        memory: WorkingMemory | None = None,
        notes: Notes = (),
    ) -> bytes:
        """The picture, of at most `drawing.DRAWN_PIXELS`, with the prediction drawn in where there is one.

        `levels` are what becomes black and white of sixteen bits; `memory` is what the picture has to wait for, where
        it is bounded; `notes` has lines to be written below each box. Raises `DeadlineExceeded` at the deadline, or at
        once where it has passed, `NotAcceptable` where the format cannot hold the picture, and `InvalidImage`.
        """
        if deadline.remaining() <= 0:
            raise _late()
        work = _Drawing(data, header, prediction, media_type, levels, memory or WorkingMemory(UNBOUNDED), notes)
        try:
            async with asyncio.timeout(deadline.remaining()):
                return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except TimeoutError:
            raise _late() from None
        finally:
            work.abandon()

    def close(self) -> None:
        """Finish what is being drawn."""
        self._pool.shutdown()


class _Drawing:
    """One picture's drawing, which its caller may abandon at any time."""

    def __init__(
        self,
        data: bytes,
        header: ImageHeader,
        prediction: AnyPrediction | None,
        media_type: DrawnType,
        levels: Levels,
        memory: WorkingMemory,
        notes: Notes,
    ) -> None:
        self._notes = notes
        self._work: tuple[bytes, AnyPrediction | None] | None = (data, prediction)
        self._header = header
        self._media_type = media_type
        self._levels = levels
        self._memory = memory
        self._abandoned = threading.Event()

    def abandon(self) -> None:
        """Nobody waits for it: the file is let go, even where its turn has not come."""
        self._abandoned.set()
        self._work = None

    def __call__(self) -> bytes:
        work = self._work
        if work is None:
            return b""
        with self._memory.hold(drawing_bytes(self._header, len(work[0]), self._levels)):
            return self._drawn(*work)

    def _drawn(self, data: bytes, prediction: AnyPrediction | None) -> bytes:
        if self._abandoned.is_set():
            return b""
        picture = image.decode(data, self._header, drawing.canvas_size(self._header.upright), self._levels)
        if self._abandoned.is_set():
            return b""
        canvas = drawing.draw(picture, prediction, notes=self._notes)
        del picture
        if self._abandoned.is_set():
            return b""
        try:
            return drawing.encode(canvas, self._media_type)
        except ValueError as error:
            raise NotAcceptable(
                f"The picture cannot be given so: {error}. Ask for image/png or application/json."
            ) from None


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("The deadline passed before the answer was drawn.")
