"""How pictures are divided."""

from hypothesis import given
from hypothesis import strategies as st

from app.vision.image import Size
from app.vision.region import Region
from app.vision.tiling import Tiles


@given(
    sides=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    corner=st.tuples(st.integers(0, 100), st.integers(0, 100)),
    size=st.integers(32, 2000),
    overlap=st.floats(0, 0.9),
    whole_too=st.booleans(),
)
def test_tiles_cover_the_area_overlap_enough_and_are_as_many_as_said(
    sides: tuple[int, int], corner: tuple[int, int], size: int, overlap: float, whole_too: bool
) -> None:
    tiles = Tiles(size=size, overlap=overlap, whole_too=whole_too)
    area = Region(corner[0], corner[1], corner[0] + sides[0], corner[1] + sides[1])
    if tiles.count(area.size) > 2000:
        return
    found = list(tiles.of(area))
    if whole_too:
        assert found.pop() == area
    assert len(found) == tiles.count(area.size) == len(set(found))
    assert tiles.divides(area.size) == (len(found) > 1)
    for first, last, side in (("left", "right", 0), ("top", "bottom", 1)):
        starts = sorted({getattr(tile, first) for tile in found})
        ends = sorted({getattr(tile, last) for tile in found})
        assert (starts[0], ends[-1]) == (corner[side], corner[side] + sides[side])
        assert {end - start for start, end in zip(starts, ends, strict=True)} == {min(size, sides[side])}
        assert all(end - start >= int(size * overlap) for end, start in zip(ends, starts[1:], strict=False))


def test_a_long_picture() -> None:
    found = Tiles(size=640, overlap=0.25, whole_too=False).of(Region(0, 0, 2000, 500))
    assert [tile.left for tile in found] == [0, 453, 907, 1360]
    assert {tile.size for tile in found} == {Size(640, 500)}
    assert {tile.top for tile in found} == {0}
