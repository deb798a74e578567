"""What tiles saw of one object becomes one, and what they saw of two stays two."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.vision import seams
from app.vision.image import Size
from app.vision.region import Region
from app.vision.seams import Seen
from app.vision.tiling import Tiles

Box = tuple[float, float, float, float]
AREA = Size(1000, 600)


def seen(
    regions: Sequence[Region], found: Sequence[tuple[int, Box, float]], class_ids: Sequence[int] | None = None
) -> Seen:
    """Boxes with the places of their tiles, and their scores."""
    return Seen(
        np.array([box for _, box, _ in found], np.float32).reshape(-1, 4),
        np.array([score for _, _, score in found], np.float32),
        np.array(class_ids or [0] * len(found), np.int64),
        np.array([tile for tile, _, _ in found], np.int64),
        regions,
        AREA,
    )


def by_tiles(things: Sequence[Box], regions: Sequence[Region], noise: float = 0, seed: int = 0) -> Seen:
    """What a perfect detector sees of things in each tile: their parts, if they are no slivers."""
    random, found = np.random.default_rng(seed), []
    for number, tile in enumerate(regions):
        for thing in things:
            part = np.array([*np.maximum(thing[:2], tile[:2]), *np.minimum(thing[2:], tile[2:])])
            if (part[2:] - part[:2] >= 8).all():
                moved = np.clip(part + random.uniform(-noise, noise, 4), np.tile(tile[:2], 2), np.tile(tile[2:], 2))
                found.append((number, tuple(moved), float(random.uniform(0.5, 1))))
    return seen(regions, found)


def boxes(joined: Sequence[seams.Joined]) -> NDArray[np.float32]:
    return np.array(sorted(each.box.tolist() for each in joined), np.float32).reshape(-1, 4)


TWO = (Region(0, 0, 600, 600), Region(400, 0, 1000, 600))


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        # Seen whole by both: the better one.
        ([(0, (450, 100, 550, 200), 0.6), (1, (452, 101, 549, 203), 0.8)], [(452, 101, 549, 203)]),
        # Cut by the left tile: the right one saw more, whatever it scores.
        ([(0, (500, 100, 600, 200), 0.9), (1, (500, 100, 700, 200), 0.4)], [(500, 100, 700, 200)]),
        # Cut by both: put together.
        ([(0, (100, 100, 600, 200), 0.9), (1, (400, 102, 900, 201), 0.4)], [(100, 100, 900, 201)]),
        # A cut piece of another height within something whole is no object.
        ([(0, (500, 150, 600, 190), 0.9), (1, (450, 100, 800, 300), 0.4)], [(450, 100, 800, 300)]),
        # A small thing before a large one is.
        (
            [(0, (500, 150, 540, 190), 0.9), (1, (450, 100, 800, 300), 0.4)],
            [(450, 100, 800, 300), (500, 150, 540, 190)],
        ),
        # Neighbours over the seam.
        ([(0, (480, 0, 520, 90), 0.9), (1, (525, 0, 580, 90), 0.9)], [(480, 0, 520, 90), (525, 0, 580, 90)]),
        # Nothing at all.
        ([], []),
    ],
)
def test_two_tiles(found: list[tuple[int, Box, float]], wanted: list[Box]) -> None:
    np.testing.assert_array_equal(boxes(seams.join(seen(TWO, found), 100)), np.reshape(wanted, (-1, 4)))


def test_other_classes_are_other_things() -> None:
    found = [(0, (450.0, 100.0, 550.0, 200.0), 0.6), (1, (450.0, 100.0, 550.0, 200.0), 0.8)]
    assert len(seams.join(seen(TWO, found, [0, 1]), 100)) == 2
    assert len(seams.join(seen(TWO, found, [1, 1]), 100)) == 1


def test_what_one_tile_told_apart_stays_apart() -> None:
    """Two things one behind the other, which both tiles saw."""
    one, other = (450.0, 100.0, 550.0, 200.0), (470.0, 120.0, 570.0, 220.0)
    found = [(0, one, 0.9), (0, other, 0.8), (1, one, 0.7), (1, other, 0.95)]
    np.testing.assert_array_equal(boxes(seams.join(seen(TWO, found), 100)), [one, other])


def test_the_whole_knows_what_is_larger_than_tiles_and_they_what_is_small() -> None:
    tiles = Tiles(size=300, overlap=0.2).of(Region(0, 0, 1000, 600))
    large, small = (100.0, 50.0, 900.0, 550.0), (20.0, 20.0, 44.0, 44.0)
    found = by_tiles([large, small], tiles[:-1])
    coarse = seen([tiles[-1]], [(0, (90, 60, 910, 540), 0.55), (0, (10, 10, 60, 60), 0.9)])
    together = Seen(
        np.concatenate((found.boxes, coarse.boxes)),
        np.concatenate((found.scores, coarse.scores)),
        np.concatenate((found.class_ids, coarse.class_ids)),
        np.concatenate((found.tiles, np.full(2, len(tiles) - 1))),
        tiles,
        AREA,
    )
    joined = boxes(seams.join(together, 100))
    np.testing.assert_array_equal(joined[-1], (90, 60, 910, 540))
    assert any(np.array_equal(box, small) for box in joined)


def test_the_best_come_first_and_no_more_than_wanted() -> None:
    found = [(0, (10.0 * n, 0.0, 10.0 * n + 8, 8.0), n / 50) for n in range(1, 40)]
    joined = seams.join(seen(TWO, found), 5)
    assert [round(each.score * 50) for each in joined] == [39, 38, 37, 36, 35]


@settings(max_examples=60, deadline=None)
@given(
    cells=st.sets(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=25),
    size=st.integers(150, 700),
    overlap=st.floats(0.2, 0.5),
    seed=st.integers(0, 1000),
)
def test_each_thing_is_found_once_and_where_it_is(
    cells: set[tuple[int, int]], size: int, overlap: float, seed: int
) -> None:
    """Things of 60 to 80 pixels on a grid of 100, however they are divided; boxes are off by up to two pixels."""
    random = np.random.default_rng(seed)
    things: list[Box] = []
    for column, row in sorted(cells):
        width, height = random.uniform(60, 80, 2)
        things.append((100 * column + 5, 100 * row + 5, 100 * column + 5 + width, 100 * row + 5 + height))
    regions = Tiles(size=size, overlap=overlap, whole_too=False).of(Region(0, 0, *AREA))
    joined = boxes(seams.join(by_tiles(things, regions, noise=2, seed=seed), 1000))
    assert len(joined) == len(things)
    for thing in things:
        assert np.abs(joined - np.array(thing, np.float32)).max(axis=1).min() <= 2
