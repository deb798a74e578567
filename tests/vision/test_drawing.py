"""What people see."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.drawing import DRAWN_PIXELS, canvas_size, colour_of, draw, encode
from app.vision.image import Picture, Size, decode, read_header
from app.vision.segmentation import UNKNOWN, Segmentation, encode_map
from tests.vision.pictures import exif, file_of, photograph, picture_of


def detections(*boxes: tuple[float, float, float, float], labels: tuple[str, ...] | None = None) -> Detections:
    count = len(boxes)
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    names = labels or tuple(f"thing {index}" for index in range(count))
    return Detections(rows, np.linspace(0.9, 0.3, count, dtype=np.float32), np.arange(count), names)


def classification(*labels: str) -> Classification:
    scores = np.linspace(0.9, 0.0, len(labels), dtype=np.float32)
    return Classification(np.arange(len(labels)), scores, labels)


def segmentation(class_map: list[list[int]], box: tuple[float, float, float, float], *listed: int) -> Segmentation:
    cells, count = np.array(class_map, np.uint8), len(listed)
    names = tuple(f"thing {number}" for number in listed)
    return Segmentation(
        *(cells, box, encode_map(cells), np.array(listed, np.int64), names),
        *(np.full(count, 0.3, np.float32), np.zeros((count, 4), np.float32)),
    )


def test_a_box_is_drawn_where_it_is_and_nowhere_else() -> None:
    pixels = photograph(400, 300)
    before = pixels.copy()
    drawn = draw(picture_of(pixels), detections((100, 120, 300, 250)))
    assert (drawn.shape, drawn.dtype) == (pixels.shape, np.uint8)
    assert np.array_equal(pixels, before)
    for x, y in ((100, 200), (299, 200), (200, 120), (200, 249), (100, 249), (299, 249)):
        assert tuple(drawn[y, x]) == colour_of(0)
    assert np.array_equal(drawn[150:220, 130:270], before[150:220, 130:270])
    assert np.array_equal(drawn[260:], before[260:])


def test_a_label_stays_inside_the_picture() -> None:
    for box in ((350.0, 0.0, 400.0, 60.0), (0.0, 280.0, 50.0, 300.0), (0.0, 0.0, 400.0, 300.0)):
        drawn = draw(picture_of(np.zeros((300, 400, 3), np.uint8)), detections(box, labels=("pallet jack",)))
        plate = (drawn == colour_of(0)).all(axis=2)
        rows = np.flatnonzero(plate.sum(axis=1) > 40)
        assert rows.size >= 8


def test_a_reduced_picture_is_drawn_at_full_size() -> None:
    drawn = draw(Picture(photograph(100, 75), Size(400, 300), 4), detections((100, 120, 300, 250)))
    assert drawn.shape == (300, 400, 3)
    assert tuple(drawn[200, 100]) == colour_of(0)


def test_the_best_box_lies_on_top() -> None:
    drawn = draw(picture_of(photograph(400, 300)), detections((100, 100, 200, 200), (100, 100, 200, 200)))
    assert tuple(drawn[150, 100]) == colour_of(0)


def test_classes_keep_their_colours_and_differ() -> None:
    colours = [colour_of(class_id) for class_id in range(80)]
    assert len(set(colours)) == 80
    for one, other in itertools.pairwise(colours):
        assert np.abs(np.subtract(one, other)).sum() > 60


def test_classification_is_a_panel_in_the_corner() -> None:
    pixels = photograph(400, 300)
    drawn = draw(picture_of(pixels), classification("tabby cat", "lynx", "owl"))
    changed = (drawn != pixels).any(axis=2)
    assert changed[20:60, 20:60].mean() > 0.5
    assert not changed[150:].any()
    assert not changed[:, 300:].any()


def test_nothing_found_leaves_the_picture_alone() -> None:
    pixels = photograph(64, 48)
    assert np.array_equal(draw(picture_of(pixels), detections()), pixels)
    assert np.array_equal(draw(picture_of(pixels), classification()), pixels)


@pytest.mark.parametrize("label", ["żółta paczka", "包裹", "пакет", "שלום", "👋", "a\nb\0c", "\ud800", "", "x" * 5000])
@pytest.mark.parametrize("size", [(400, 300), (40, 30), (1, 1)])
def test_any_label_can_be_drawn(label: str, size: tuple[int, int]) -> None:
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    found = detections((1, 1, size[0], size[1]), labels=(label,))
    assert draw(picture_of(pixels), found).shape == pixels.shape
    assert draw(picture_of(pixels), classification(label, label)).shape == pixels.shape


def test_listed_classes_are_tinted_and_all_else_is_left() -> None:
    pixels = photograph(400, 600)
    drawn = draw(picture_of(pixels), segmentation([[0, 1], [2, UNKNOWN]], (0, 0, 400, 600), 1, 2))
    below_the_legend = np.s_[200:300, 200:]
    tinted = (pixels[below_the_legend].astype(int) + colour_of(1)) / 2
    assert np.abs(drawn[below_the_legend] - tinted).max() <= 1
    assert np.abs(drawn[300:, :200] - (pixels[300:, :200].astype(int) + colour_of(2)) / 2).max() <= 1
    assert np.array_equal(drawn[200:300, :200], pixels[200:300, :200])
    assert np.array_equal(drawn[300:, 200:], pixels[300:, 200:])


def test_a_map_of_a_part_tints_that_part() -> None:
    pixels = photograph(400, 600)
    drawn = draw(picture_of(pixels), segmentation([[1]], (100, 200, 300, 500), 1))
    changed = (drawn != pixels).any(axis=2)
    changed[:150] = False  # the legend
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (200, 499, 100, 299)


def test_the_legend_has_each_classs_colour_however_small_its_share() -> None:
    found = segmentation([[1]], (0, 0, 0, 0), 3, 4)
    drawn = draw(picture_of(np.zeros((300, 400, 3), np.uint8)), replace(found, shares=np.array([0.5, 1e-6])))
    for class_id in (3, 4):
        assert (drawn == colour_of(class_id)).all(axis=2).sum() >= 4


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (40, 20)])
def test_a_map_over_any_picture(size: tuple[int, int]) -> None:
    width, height = size
    for box in ((-3, 0, width + 2.4, height), (0.5, 0, 0.5, height), (width + 9, 0, width + 20, height)):
        found = segmentation([[1, 2, 0]] * 5, box, 1, 2)
        assert draw(picture_of(np.zeros((height, width, 3), np.uint8)), found).shape == (height, width, 3)


def test_letters_of_many_scripts_are_letters() -> None:
    def drawn(label: str) -> bytes:
        found = detections((10, 60, 300, 200), labels=(label,))
        return draw(picture_of(np.zeros((300, 400, 3), np.uint8)), found).tobytes()

    assert len({drawn(letter) for letter in "?ół包пΩ"}) == 6


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.lists(st.tuples(*[st.floats(0, 90, width=32)] * 4), max_size=4),
    st.text(max_size=30),
)
def test_any_boxes_on_any_picture(
    width: int, height: int, boxes: list[tuple[float, float, float, float]], label: str
) -> None:
    found = detections(*boxes, labels=(label,) * len(boxes))
    assert draw(picture_of(np.zeros((height, width, 3), np.uint8)), found).shape == (height, width, 3)


def test_threads_draw_the_same_letters() -> None:
    picture = picture_of(np.zeros((60, 400, 3), np.uint8))
    found = [detections((0, 30, 400, 60), labels=(f"包裹 żółta {index}",)) for index in range(8)]
    alone = [draw(picture, one).tobytes() for one in found]
    with ThreadPoolExecutor(4) as threads:
        together = threads.map(lambda index: draw(picture, found[index % 8]).tobytes(), range(400))
        assert all(drawn == alone[index % 8] for index, drawn in enumerate(together))


def test_encoded_pixels_come_back() -> None:
    pixels = photograph(64, 48)
    png, jpeg = encode(pixels, "image/png"), encode(pixels, "image/jpeg", 95)
    assert read_header(png).media_type == "image/png"
    assert read_header(jpeg).media_type == "image/jpeg"
    assert np.array_equal(decode(png, read_header(png)).pixels, pixels)
    assert np.abs(decode(jpeg, read_header(jpeg)).pixels.astype(int) - pixels).mean() < 4
    assert len(encode(pixels, "image/jpeg", 20)) < len(jpeg)


def test_a_size_that_jpeg_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="70000 x 1 pixels do not fit"):
        encode(np.zeros((1, 70000, 3), np.uint8), "image/jpeg")


@pytest.mark.parametrize("size", [(4000, 3000), (3841, 2161), (20_000, 600), (1, 60_000), (9_000_000, 1)])
def test_a_large_picture_is_drawn_smaller(size: tuple[int, int]) -> None:
    width, height = canvas_size(Size(*size))
    assert 1 <= width * height <= DRAWN_PIXELS
    if size[0] * size[1] > DRAWN_PIXELS and min(size) > 1:
        assert width * height > 0.98 * DRAWN_PIXELS
        assert width / height == pytest.approx(size[0] / size[1], rel=0.01)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_what_is_drawn_smaller_is_drawn_in_its_place(kind: str, orientation: int) -> None:
    stored = np.zeros((3001, 4003, 3), np.uint8)
    data = file_of(stored, kind, exif=exif(orientation), **({"compress_level": 1} if kind == "PNG" else {}))
    header = read_header(data)
    size, box = canvas_size(header.upright), (1000, 700, 2000, 2100)
    drawn = draw(decode(data, header, size), detections(box))
    assert drawn.shape == (size.height, size.width, 3)
    ys, xs = np.nonzero((drawn == colour_of(0)).all(axis=2))
    scale = size.width / header.upright.width
    assert abs(xs.max() + 1 - box[2] * scale) <= 1
    assert abs(ys.max() + 1 - box[3] * scale) <= 1
    assert abs(xs.min() - box[0] * scale) <= 1


def test_a_panel_over_a_whole_picture_is_darkened_everywhere() -> None:
    pixels = np.full((1000, 1200, 3), 255, np.uint8)
    drawn = draw(picture_of(pixels), classification(*["a name that is as long as names can be" * 3] * 60))
    assert (drawn[100:900, 18] < 100).all()  # between its edge and its text
