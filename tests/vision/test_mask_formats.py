"""Masks as outlines, run lengths and files, and back."""

import cv2
import numpy as np
import pycocotools.mask
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.vision import mask_formats
from app.vision.header import Size
from app.vision.mask_formats import MOST_POINTS, MOST_RINGS, Mask, Rle

PARTS = st.tuples(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(0, 1)),
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(0, 3),
    st.integers(0, 3),
)


def placed(bits: np.ndarray, left: int, top: int, right: int, bottom: int) -> tuple[Mask, Size]:
    height, width = bits.shape
    return Mask(left, top, bits), Size(left + width + right, top + height + bottom)


def slow_runs(bits: np.ndarray) -> list[int]:
    """COCO's run lengths, cell by cell."""
    found, last = [0], 0
    for value in bits.T.reshape(-1).tolist():
        if value != last:
            found.append(0)
            last = value
        found[-1] += 1
    return found


@given(PARTS)
def test_run_lengths_are_those_of_the_whole_grid(part: tuple[np.ndarray, int, int, int, int]) -> None:
    mask, grid = placed(*part)
    whole = mask_formats.whole(mask, grid)
    counts = mask_formats.runs(mask, grid)
    assert counts.tolist() == slow_runs(whole)
    assert (mask_formats.of_runs(counts, grid) == whole).all()


@settings(max_examples=200)
@given(st.lists(st.lists(st.integers(1, 2**24), min_size=1, max_size=12), min_size=1, max_size=4))
def test_run_lengths_are_compressed_as_cocos_own_code_does_it(several: list[list[int]]) -> None:
    texts = mask_formats.compressed([np.array(counts, np.int64) for counts in several])
    theirs = [pycocotools.mask.frPyObjects({"size": [1, sum(each)], "counts": each}, 1, sum(each)) for each in several]
    assert texts == [each["counts"].decode() for each in theirs]
    assert [mask_formats.expanded(text) for text in texts] == several


def test_a_compressed_mask_as_it_is_known() -> None:
    """COCO's own documentation of the order: M=[0 0 1 1 1 0 1] has R=[2 3 1 1]."""
    mask = Mask(0, 0, np.array([[0, 0, 1, 1, 1, 0, 1]], np.uint8).T.copy())
    assert mask_formats.runs(mask, Size(1, 7)).tolist() == [2, 3, 1, 1]
    assert mask_formats.compressed([]) == []


@pytest.mark.parametrize("text", ["\x20", "é", "P", "oooooooooooooooo0"])
def test_what_is_no_compressed_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="its counts"):
        mask_formats.expanded(text)


@pytest.mark.parametrize("counts", [[5], [10, -1], [4, 6]])
def test_run_lengths_of_another_grid_are_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="not those of 3 x 3"):
        mask_formats.of_runs(counts, Size(3, 3))


def test_an_outline_goes_around_the_cells_and_not_through_their_middle() -> None:
    mask, size = Mask(10, 20, np.ones((5, 8), np.uint8)), Size(200, 100)
    ((ring,),) = mask_formats.outlines([mask], size, size)
    assert sorted(map(tuple, ring.tolist())) == [(10, 20), (10, 25), (18, 20), (18, 25)]
    ((ring,),) = mask_formats.outlines([mask], Size(100, 50), size)  # a coarser grid
    assert (ring.min(axis=0).tolist(), ring.max(axis=0).tolist()) == ([20, 40], [36, 50])
    assert (mask_formats.of_rings([ring], Size(100, 50), size) == mask_formats.whole(mask, Size(100, 50))).all()


def test_each_mask_has_its_own_outlines_the_largest_first() -> None:
    two = np.zeros((20, 30), np.uint8)
    two[2:5, 2:5] = two[6:16, 8:28] = 1
    grid = Size(40, 40)
    masks = [Mask(0, 0, two), Mask(3, 3, np.zeros((4, 4), np.uint8)), Mask(5, 5, np.ones((1, 1), np.uint8))]
    found = mask_formats.outlines(masks, grid, grid)
    assert [len(rings) for rings in found] == [2, 0, 1]
    assert found[0][0].tolist()[0][0] >= 8 > found[0][1].max()
    assert mask_formats.outlines([masks[1]], grid, grid) == ((),)


def test_an_outline_is_near_the_mask_and_an_ellipse_needs_few_points() -> None:
    bits = np.zeros((200, 300), np.uint8)
    cv2.ellipse(bits, (150, 100), (120, 70), 20, 0, 360, 1, -1)
    grid = Size(300, 200)
    ((ring,),) = mask_formats.outlines([Mask(0, 0, bits)], grid, grid)
    again = mask_formats.of_rings([ring], grid, grid)
    assert len(ring) < 100
    assert np.count_nonzero(again & bits) / np.count_nonzero(again | bits) > 0.985


def test_noise_has_bounded_outlines() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (600, 600)).astype(np.uint8)
    ((*rings,),) = mask_formats.outlines([Mask(0, 0, bits)], Size(600, 600), Size(600, 600))
    assert len(rings) <= MOST_RINGS
    assert max(map(len, rings)) <= MOST_POINTS


def test_a_file_lies_on_its_part_of_the_picture() -> None:
    bits = np.array([[1, 0, 1], [0, 1, 1]], np.uint8)
    found = mask_formats.file(Mask(4, 6, bits), Size(20, 10), Size(40, 30))
    assert found.box == (8, 18, 14, 24)
    assert (mask_formats.of_file(found.png) == bits).all()
    for wrong in (b"", b"\x89PNG", cv2.imencode(".png", np.zeros((2, 2, 3), np.uint8))[1].tobytes()):
        with pytest.raises(ValueError, match="grey PNG"):
            mask_formats.of_file(wrong)
    assert Rle(Size(1, 1), "1") == Rle(Size(1, 1), "1")
