"""What several tiles saw of one object, as one.

Two tiles that overlap saw the same there, so two boxes are one object where their parts in what both tiles saw are
alike. A box that ends at an inner edge of its tile is cut: the object goes on. What is whole is taken from the tile
that saw it most finely, what every tile has cut is put together, and a cut piece of what another tile saw whole, but
otherwise, is dropped.

Of a tile no two boxes become one: the model told them apart.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from app.vision.header import Size
from app.vision.region import Region

SAME = 0.5
"""Intersection over union from which two parts are alike, and the part of a box that must be inside of another."""
EDGE_SHARE, EDGE_PIXELS = 0.01, 1.0
"""How near a box's side is to its tile's edge where it is cut: of the tile's side, and pixels more."""
MOST_JOINED = 5_000
"""The best of all tiles' boxes that are put together; what comparing them takes grows with their square."""
_AT_ONCE = 64

Boxes = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Seen:
    """What all tiles saw, in the coordinates of what they are tiles of: `boxes` float32 [n, 4], `scores` float32 [n],
    `class_ids` int64 [n], `tiles` int64 [n] by their places in `regions`, which lie in an area of the size `area`.
    """

    boxes: Boxes
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    tiles: NDArray[np.int64]
    regions: Sequence[Region]
    area: Size


@dataclass(frozen=True, slots=True)
class Joined:
    """One object: the box that stands for it, by its place, and those that its `box` is put together from: that one
    alone where a tile saw all of it.
    """

    chosen: int
    members: tuple[int, ...]
    box: Boxes
    score: float


def join(seen: Seen, most: int) -> list[Joined]:
    """The objects, best first, at most so many."""
    kept = np.sort(np.argsort(-seen.scores, kind="stable")[:MOST_JOINED])
    cut = _cut(seen)
    found = [_one(seen, cut, members) for members in _groups(seen, cut, kept)]
    found.sort(key=lambda joined: -joined.score)
    whole = [joined for joined in found if not cut[joined.chosen]]
    answers: list[Joined] = []
    for start in range(0, len(found), _AT_ONCE):
        some = found[start : start + _AT_ONCE]
        pieces = _pieces(seen, cut, some, whole)
        answers += [joined for joined, piece in zip(some, pieces, strict=True) if not piece]
        if len(answers) >= most:
            break
    return answers[:most]


def _cut(seen: Seen) -> NDArray[np.bool_]:
    """Which boxes end at an inner edge of their tile: bool [n]."""
    edges = np.array(seen.regions, np.float32).reshape(-1, 4)
    near = np.tile((edges[:, 2:] - edges[:, :2]) * EDGE_SHARE + EDGE_PIXELS, 2)
    outer = np.array([0, 0, *seen.area], np.float32)
    inner = edges != outer
    return np.asarray(((np.abs(seen.boxes - edges[seen.tiles]) <= near[seen.tiles]) & inner[seen.tiles]).any(axis=1))


def _groups(seen: Seen, cut: NDArray[np.bool_], kept: NDArray[np.intp]) -> list[list[int]]:
    """Boxes of one object each; the likest pairs are put together first."""
    by_tile = [kept[seen.tiles[kept] == tile] for tile in range(len(seen.regions))]
    pairs = [pair for tiles in _overlapping(seen.regions) for pair in _alike(seen, cut, by_tile, *tiles)]
    pairs.sort(reverse=True)
    groups = {place: [place] for place in kept.tolist()}
    tiles = {place: {int(seen.tiles[place])} for place in groups}
    for _, first, second in pairs:
        one, other = groups[first], groups[second]
        if one is other or tiles[one[0]] & tiles[other[0]]:
            continue
        tiles[one[0]] |= tiles[other[0]]
        one += other
        groups.update(dict.fromkeys(other, one))
    return [group for place, group in groups.items() if group[0] == place]


def _overlapping(regions: Sequence[Region]) -> Iterator[tuple[int, int]]:
    for first, second in combinations(range(len(regions)), 2):
        one, other = regions[first], regions[second]
        across = min(one.right, other.right) - max(one.left, other.left)
        if across > 0 and min(one.bottom, other.bottom) > max(one.top, other.top):
            yield first, second


def _alike(
    seen: Seen, cut: NDArray[np.bool_], by_tile: Sequence[NDArray[np.intp]], first: int, second: int
) -> list[tuple[float, int, int]]:
    """Pairs of two tiles' boxes that are one object, and how alike they are."""
    one, other = seen.regions[first], seen.regions[second]
    first_corner, last_corner = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = np.concatenate((first_corner, last_corner)).astype(np.float32)
    ours, ours_seen = _within(seen, by_tile[first], shared)
    theirs, theirs_seen = _within(seen, by_tile[second], shared)
    if not (len(ours) and len(theirs)):
        return []
    common = _intersections(ours_seen, theirs_seen)
    overlap = common / (_areas(ours_seen)[:, None] + _areas(theirs_seen) - common)
    overlap[seen.class_ids[ours][:, None] != seen.class_ids[theirs]] = 0
    # What one tile saw whole does not go on where that tile ends.
    ours_inside = _areas(ours_seen) >= SAME * _areas(seen.boxes[ours])
    theirs_inside = _areas(theirs_seen) >= SAME * _areas(seen.boxes[theirs])
    possible = (cut[theirs] | ours_inside[:, None]) & (cut[ours][:, None] | theirs_inside)
    rows, columns = np.nonzero((overlap >= SAME) & possible)
    found = zip(overlap[rows, columns].tolist(), ours[rows].tolist(), theirs[columns].tolist(), strict=True)
    return list(found)


def _within(seen: Seen, places: NDArray[np.intp], shared: Boxes) -> tuple[NDArray[np.intp], Boxes]:
    """Those boxes of which a part lies in what both tiles saw, and that part."""
    boxes = seen.boxes[places]
    parts = np.concatenate((np.maximum(boxes[:, :2], shared[:2]), np.minimum(boxes[:, 2:], shared[2:])), axis=1)
    there = (parts[:, 2:] > parts[:, :2]).all(axis=1)
    return places[there], parts[there]


def _one(seen: Seen, cut: NDArray[np.bool_], members: list[int]) -> Joined:
    whole = [place for place in members if not cut[place]]
    if whole:
        best = min(whole, key=lambda place: (seen.regions[int(seen.tiles[place])].pixels, -seen.scores[place]))
        return Joined(best, (best,), seen.boxes[best], float(seen.scores[best]))
    boxes = seen.boxes[members]
    around = np.concatenate((boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)))
    largest = members[int(np.argmax(_areas(boxes)))]
    return Joined(largest, tuple(members), around, float(seen.scores[members].max()))


def _pieces(seen: Seen, cut: NDArray[np.bool_], some: list[Joined], whole: list[Joined]) -> NDArray[np.bool_]:
    """Which of them are cut and lie, for the most part, in what a tile saw whole: bool [n]."""
    boxes, others = (np.array([joined.box for joined in each], np.float32).reshape(-1, 4) for each in (some, whole))
    inside = _intersections(boxes, others) >= SAME * _areas(boxes)[:, None]
    ours, theirs = ([seen.class_ids[joined.chosen] for joined in each] for each in (some, whole))
    same = np.array(ours)[:, None] == np.array(theirs)
    return np.asarray((inside & same).any(axis=1) & cut[[joined.chosen for joined in some]])


def _areas(boxes: Boxes) -> NDArray[np.float32]:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _intersections(some: Boxes, others: Boxes) -> NDArray[np.float32]:
    """Areas [n, m]."""
    first = np.maximum(some[:, None, :2], others[:, :2])
    last = np.minimum(some[:, None, 2:], others[:, 2:])
    return np.asarray(np.prod(np.clip(last - first, 0, None), axis=2))
