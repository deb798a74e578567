"""Drawn answers come in time or not at all, several at once, and what nobody waits for is not drawn."""

import asyncio
import gc
import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from app.core.request import Deadline
from app.core.working_memory import WorkingMemory
from app.errors import DeadlineExceeded, InvalidImage, NotAcceptable
from app.vision import image
from app.vision.classification import Classification
from app.wire.prediction import AnyPrediction
from app.wire.rendering import DrawnType, Renderer
from tests.fixtures.waiting import until_async
from tests.vision.pictures import file_of, photograph, png_of

DATA = file_of(photograph(160, 120), "PNG")
NOTHING = Classification(np.zeros(0, np.int64), np.zeros(0, np.float32), ())


@contextmanager
def renderer(workers: int, occupied: int = 0) -> Iterator[Renderer]:
    """A renderer of which some workers do something else until the end."""
    free, own = threading.Event(), Renderer(workers)
    for _ in range(occupied):
        own._pool.submit(free.wait)
    try:
        yield own
    finally:
        free.set()
        own.close()


async def drawn(
    own: Renderer,
    data: bytes = DATA,
    prediction: AnyPrediction = NOTHING,
    media_type: DrawnType = "image/png",
    seconds: float = 60.0,
    levels: tuple[int, int] = image.FULL_RANGE,
) -> bytes:
    header = image.read_header(data)
    return await own.draw(data, header, prediction, media_type, Deadline.after(seconds), levels)


async def test_a_worker_that_is_busy_does_not_hold_up_the_others() -> None:
    with renderer(workers=2, occupied=1) as own:
        answers = await asyncio.gather(*(drawn(own) for _ in range(5)))
    assert {Image.open(io.BytesIO(answer)).size for answer in answers} == {(160, 120)}


async def test_a_deadline_that_has_passed_is_told_at_once() -> None:
    with renderer(workers=1) as own, pytest.raises(DeadlineExceeded):
        await drawn(own, seconds=0)


async def test_whose_turn_does_not_come_in_time_is_told_and_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    decode = image.decode
    monkeypatch.setattr(image, "decode", lambda data, *rest: decoded.append(data) or decode(data, *rest))
    late, early = DATA + b"late", DATA + b"early"
    with renderer(workers=1, occupied=1) as own:
        with pytest.raises(DeadlineExceeded):
            await drawn(own, late, seconds=0.05)
        last = asyncio.ensure_future(drawn(own, early))
        await asyncio.sleep(0)  # it waits behind the late one now
    assert Image.open(io.BytesIO(await last)).size == (160, 120)
    assert decoded == [early]


async def test_a_caller_who_left_leaves_neither_work_nor_file_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "decode", lambda *_: pytest.fail("nobody waits for this"))
    data = bytes(bytearray(DATA))
    before = sys.getrefcount(data)
    with renderer(workers=1, occupied=1) as own:
        waiting = asyncio.ensure_future(drawn(own, data))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        del waiting
        gc.collect()
        assert sys.getrefcount(data) == before


async def test_a_damaged_picture_and_a_size_that_no_jpeg_holds_are_told() -> None:
    with renderer(workers=1) as own:
        header = image.read_header(DATA)
        with pytest.raises(InvalidImage):
            await own.draw(DATA[:-40], header, NOTHING, "image/png", Deadline.after(60))
        with pytest.raises(NotAcceptable, match="image/png"):
            await drawn(own, file_of(np.zeros((1, 70_000, 3), np.uint8), "PNG"), media_type="image/jpeg")


async def test_a_cameras_range_holds_for_the_drawn_picture_too() -> None:
    data = png_of(np.full((20, 30), 2048, np.uint16))
    with renderer(workers=1) as own:
        answer = Image.open(io.BytesIO(await drawn(own, data, levels=(0, 4095))))
    assert answer.getpixel((3, 3)) == (128, 128, 128)


async def test_drawing_waits_for_memory_and_gives_it_back() -> None:
    memory, header = WorkingMemory(200 << 20), image.read_header(DATA)
    with renderer(workers=1) as own:
        with memory.hold(200 << 20):
            waiting = asyncio.ensure_future(
                own.draw(DATA, header, NOTHING, "image/png", Deadline.after(60), memory=memory)
            )
            await until_async(memory._turn.locked)
            assert not waiting.done()
        assert await waiting
    assert memory.held == 0
