"""The answer as a picture: what was sent, with the predictions drawn in."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from app.errors import NotAcceptable
from app.vision import drawing, image
from app.wire.prediction import AnyPrediction

DrawnType = Literal["image/jpeg", "image/png"]


class Renderer:
    """Draws answers one at a time, beside the event loop, so that drawing never takes the lanes' cores away from
    inference.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="renderer")

    async def draw(self, data: bytes, prediction: AnyPrediction, media_type: DrawnType) -> bytes:
        """The picture at full size with the prediction drawn in, encoded."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, _draw, data, prediction, media_type)

    def close(self) -> None:
        """Finish what is being drawn."""
        self._pool.shutdown()


def _draw(data: bytes, prediction: AnyPrediction, media_type: DrawnType) -> bytes:
    picture = image.decode(data, image.read_header(data))
    try:
        return drawing.encode(drawing.draw(picture, prediction), media_type)
    except ValueError as error:
        raise NotAcceptable(
            f"The picture cannot be given so: {error}. Ask for image/png or application/json."
        ) from None
