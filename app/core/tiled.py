"""Pictures that are much larger than a model's input: looked at tile by tile, and answered as one."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from app.core.admission import Permit
from app.core.asking import Asking
from app.core.crops import Crops
from app.core.model import Model
from app.core.request import AdmittedRequest, Answer, LaneWork, Timings
from app.errors import InvalidRequest, RequestError
from app.telemetry import metrics, tracing
from app.telemetry.tracing import Stage
from app.vision.header import Size
from app.vision.region import Region
from app.vision.tasks import JoiningTask, Options, Part
from app.vision.tiling import Tiles


@dataclass(frozen=True, slots=True)
class Plan:
    """How a picture, or the `area` of it that is asked about, is divided: `regions` are `count` tiles and, perhaps, the
    whole area.
    """

    area: Region
    regions: tuple[Region, ...]
    count: int


def plan(model: Model, options: Options, picture: Size, region: Region | None, most: int) -> Plan | None:
    """How request and manifest want a picture of that upright size divided; None where it is looked at as it is.

    Raises `InvalidRequest` where the model's answers cannot be put together, or there would be more than `most` tiles.
    """
    task, asked = model.task, options.tiles
    if not isinstance(task, JoiningTask):
        if isinstance(asked, Tiles):
            raise InvalidRequest(
                f"tiles cannot be obeyed: the task of {model.name} is {task.name}, and only what detectors say of "
                "tiles can be put together. Leave it out, or ask about one part with region."
            )
        return None
    tiles = task.tiles if asked is None else asked
    area = region or Region(0, 0, *picture)
    if not isinstance(tiles, Tiles) or not tiles.divides(area.size):
        return None
    if (count := tiles.count(area.size)) > most:
        raise InvalidRequest(
            f"{area.size.width} x {area.size.height} pixels in tiles of {tiles.size} that overlap by {tiles.overlap:g} "
            f"of their side are {count} tiles; at most {most} are looked at. Make them larger, let them overlap less, "
            "or ask about a part with region."
        )
    return Plan(area, tiles.of(area), count)


class TiledPictures:
    """Cuts tiles from one decode, asks about each, and puts the answers together. Belongs to an event loop."""

    def __init__(self, crops: Crops, asking: Asking) -> None:
        self._crops = crops
        self._asking = asking

    async def answer(self, admitted: AdmittedRequest, found: Plan, permit: Permit, model: Model) -> Answer:
        """The answer to a picture whose request has a deadline; raises the first error of any of its tiles.

        Its timings are sums over the tiles, of which lanes work on several at once; `decode` is until the pixels were
        there, and `finish` has the putting together in it, for which codes are read.
        """
        request, started = admitted.request, time.monotonic()
        assert request.deadline is not None
        metrics.tiles.record(found.count, (model.name, model.version))
        of_tile = replace(request, options=replace(request.options, region=None, tiles=None, read_barcodes=False))
        async with self._crops.cut(admitted, found.regions, permit, model, reduce=True) as pictures:
            decode = time.monotonic() - started
            tiles = _all_answered(await self._crops.ask(of_tile, pictures, permit, model))
            del pictures
        parts = [
            Part(tile.prediction, _within(region, found.area))
            for tile, region in zip(tiles, found.regions, strict=True)
        ]
        work = LaneWork(request, partial(_join, model, admitted, found.area, parts), admitted.trace)
        (joined,) = await self._asking.all([work], permit.priority, model, request.deadline, request.flow)
        tracing.record_stages([Stage("join", joined.queued_at, joined.ended_at - joined.queued_at)], None)
        return replace(
            joined,
            image_size=admitted.size,
            batch_size=max(tile.batch_size for tile in tiles),
            timings=_summed(decode, tiles, joined),
            queued_at=started,
        )


def _all_answered(answers: Sequence[Answer | RequestError]) -> list[Answer]:
    """What lacks a tile would be answered as if there were nothing on it."""
    found = []
    for answer in answers:
        if isinstance(answer, RequestError):
            raise answer
        found.append(answer)
    return found


def _within(region: Region, area: Region) -> Region:
    left, top = area.left, area.top
    return Region(region.left - left, region.top - top, region.right - left, region.bottom - top)


def _join(model: Model, admitted: AdmittedRequest, area: Region, parts: list[Part]) -> Any:
    """In a lane."""
    assert isinstance(model.task, JoiningTask)
    return model.complete(model.task.join(parts, area.size, admitted.request.options), admitted)


def _summed(decode: float, tiles: Sequence[Answer], joined: Answer) -> Timings:
    batches = {id(tile.batch): tile.timings.compute for tile in tiles}
    return Timings(
        queue=max(tile.timings.queue for tile in tiles) + joined.timings.queue,
        decode=decode,
        prepare=sum(tile.timings.prepare for tile in tiles),
        compute=sum(batches.values()),
        finish=sum(tile.timings.finish for tile in tiles) + joined.timings.prepare,
    )
