"""Scores of places to a map of classes over the picture that was sent."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.errors import EngineFailure, InvalidManifest
from app.vision.image import Size
from app.vision.preprocessing import InputSpec, Placement, prepare
from app.vision.segmentation import UNKNOWN, Segmentation, SegmentationSpec, SegmentationTask, decode_map
from app.vision.tasks import Options
from tests.vision.pictures import BLUE, GREEN, RED, picture_of

LABELS = ("red", "green", "blue")
NUMBERS = SegmentationSpec(layout="class_map")


def placed(picture: Size, spec: InputSpec) -> Placement:
    """Where a picture of this size lies in the model's input."""
    pixels = np.zeros((picture.height, picture.width, 3), np.uint8)
    return prepare(picture_of(pixels), spec, np.empty(spec.shape, np.float32))


def plain(size: int) -> Placement:
    return placed(Size(size, size), InputSpec(size=Size(size, size)))


def segmented(
    table: NDArray[Any], placement: Placement, spec: SegmentationSpec | None = None, labels: tuple[str, ...] = LABELS
) -> Segmentation:
    task = SegmentationTask(spec or SegmentationSpec(), labels)
    task.check({"out": table})
    return task.finish({"out": table}, placement, Options())


def logits_of(class_map: NDArray[np.integer], classes: int = 3) -> NDArray[np.float32]:
    """Scores of which the largest are these classes'."""
    random = np.random.default_rng(0).random((classes, *class_map.shape), np.float32)
    return random + 2 * (np.arange(classes)[:, None, None] == class_map)


def through_the_model(pixels: NDArray[np.uint8], spec: InputSpec, stride: int = 1) -> Segmentation:
    """What a model answers that takes the strongest of its input's three channels for the class, at each `stride`."""
    row = np.empty(spec.shape, np.float32)
    placement = prepare(picture_of(pixels), spec, row)
    sizes = (spec.size.width // stride, spec.size.height // stride)
    return segmented(np.stack([cv2.resize(plane, sizes, interpolation=cv2.INTER_AREA) for plane in row]), placement)


def test_the_largest_score_of_each_place_wins() -> None:
    wanted = np.random.default_rng(1).integers(0, 3, (8, 8))
    found = segmented(logits_of(wanted), plain(8))
    assert np.array_equal(found.class_map, wanted)
    assert (found.class_map.dtype, found.map_box) == (np.uint8, (0, 0, 8, 8))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.sampled_from([np.float32, np.float16, np.float64]))
def test_the_winner_is_argmaxs_also_where_scores_are_equal(seed: int, classes: int, dtype: type) -> None:
    table = np.random.default_rng(seed).integers(-2, 3, (classes, 5, 5)).astype(dtype)
    found = segmented(table, plain(5), labels=tuple("abcdef"[:classes]))
    assert np.array_equal(found.class_map, table.argmax(axis=0))


def test_shares_and_boxes_are_of_the_picture_that_was_sent_largest_first() -> None:
    wanted = np.zeros((8, 8), int)
    wanted[2:4, 1:7] = 2
    placement = placed(Size(800, 400), InputSpec(size=Size(8, 8), resize="stretch"))
    found = segmented(logits_of(wanted), placement)
    assert found.labels == ("red", "blue")
    assert found.class_ids.tolist() == [0, 2]
    assert np.allclose(found.shares, [52 / 64, 12 / 64])
    assert np.allclose(found.boxes, [[0, 0, 800, 400], [100, 100, 700, 200]])


def test_the_background_is_in_the_map_and_not_listed() -> None:
    wanted = np.array([[0, 0], [0, 1]])
    found = segmented(logits_of(wanted), plain(2), SegmentationSpec(background=True))
    assert found.labels == ("green",)
    assert np.array_equal(found.class_map, wanted)
    assert segmented(logits_of(wanted * 0), plain(2), SegmentationSpec(background=True)).boxes.shape == (0, 4)


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize(("width", "height"), [(640, 320), (320, 640), (640, 640), (641, 123)])
def test_a_letterboxs_margins_are_cut_away(width: int, height: int, stride: int) -> None:
    """Nothing of the picture is green, but its margins are not: their grey would be red, the first of equals."""
    pixels = np.full((height, width, 3), GREEN, np.uint8)
    found = through_the_model(pixels, InputSpec(size=Size(64, 64)), stride)
    assert found.labels == ("green",)
    assert found.shares.tolist() == [1]
    assert np.allclose(found.boxes, [[0, 0, width, height]])
    assert np.allclose(found.map_box, [0, 0, width, height])
    longer = 64 // stride
    # halved three times, 641 pixels are 81, of which the last is an eighth of one
    assert max(found.class_map.shape) in ((longer,) if width != 641 else (longer, longer - 1))
    assert min(found.class_map.shape) == pytest.approx(longer * min(width, height) / max(width, height), abs=0.6)


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize("stride", [1, 4])
def test_parts_are_where_they_are_on_the_picture(resize: Any, stride: int) -> None:
    pixels = np.full((300, 600, 3), RED, np.uint8)
    pixels[100:200, 400:500] = BLUE
    found = through_the_model(pixels, InputSpec(size=Size(96, 96), resize=resize), stride)
    cell = 600 / 96 * stride
    assert found.labels == ("red", "blue")
    assert np.allclose(found.boxes[1], [400, 100, 500, 200], atol=cell)
    assert np.allclose(found.shares.sum(), 1)


def test_after_a_centre_crop_the_map_says_what_it_covers() -> None:
    pixels = np.full((100, 300, 3), RED, np.uint8)
    pixels[:, :100] = GREEN  # outside of what the model sees, but for nothing
    pixels[:, 150:200] = BLUE
    found = through_the_model(pixels, InputSpec(size=Size(50, 50), resize="center_crop"))
    assert np.allclose(found.map_box, [100, 0, 200, 100])
    assert sorted(found.labels) == ["blue", "red"]
    assert np.allclose(found.shares, 1 / 6)
    assert np.allclose(found.boxes[found.labels.index("blue")], [150, 0, 200, 100])
    assert found.class_map.shape == (50, 50)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.sampled_from(["letterbox", "stretch", "center_crop"]),
)
def test_any_picture_in_any_input_with_any_output(
    picture: tuple[int, int], size: tuple[int, int], cells: tuple[int, int], resize: Any
) -> None:
    placement = placed(Size(*picture), InputSpec(size=Size(*size), resize=resize))
    found = segmented(logits_of(np.random.default_rng(0).integers(0, 3, cells)), placement)
    seen = (found.map_box[2] - found.map_box[0]) * (found.map_box[3] - found.map_box[1]) / (picture[0] * picture[1])
    assert found.shares.sum() == pytest.approx(seen, rel=1e-3)
    assert max(found.class_map.shape) <= max(cells)
    assert (found.boxes[:, :2] < found.boxes[:, 2:]).all()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= np.array(picture * 2) + 1e-3).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.bool_])
@pytest.mark.parametrize("lead", [(), (1,)])
def test_a_graphs_own_classes_are_taken_as_they_are(dtype: type, lead: tuple[int, ...]) -> None:
    wanted = np.random.default_rng(2).integers(0, 2, (6, 6))
    found = segmented(wanted.astype(dtype).reshape(*lead, 6, 6), plain(6), NUMBERS)
    assert np.array_equal(found.class_map, wanted)


def test_numbers_without_a_label_are_unknown() -> None:
    found = segmented(np.array([[0, 3], [-1, 255]]), plain(2), NUMBERS)
    assert found.class_map.tolist() == [[0, UNKNOWN], [UNKNOWN, UNKNOWN]]
    assert (found.labels, found.shares.tolist()) == (("red",), [0.25])


def test_the_file_of_a_map_is_the_map() -> None:
    wanted = np.random.default_rng(3).integers(0, 3, (20, 30))
    found = segmented(logits_of(wanted), placed(Size(30, 20), InputSpec(size=Size(30, 20))))
    assert np.array_equal(decode_map(found.png), wanted)


@pytest.mark.parametrize("bad", [b"", b"nonsense", cv2.imencode(".png", np.zeros((2, 2, 3), np.uint8))[1].tobytes()])
def test_what_is_no_map_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match="no grey PNG"):
        decode_map(bad)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 2])
def test_what_is_not_finite_is_an_engine_failure(bad: float, place: int) -> None:
    table = np.zeros((3, 4, 4), np.float32)
    table[place, 1, 2] = bad
    with pytest.raises(EngineFailure, match="not finite"):
        segmented(table, plain(4))
    with pytest.raises(EngineFailure, match="not finite"):
        segmented(table[place], plain(4), NUMBERS)


@pytest.mark.parametrize(
    ("outputs", "spec", "said"),
    [
        ({"out": np.zeros((21, 8, 8))}, {}, "labels: the model scores 21 classes, but the manifest lists 3 labels"),
        ({"out": np.zeros((8, 8, 3))}, {}, r"is \[8, 8, 3\], with the classes last"),
        ({"out": np.zeros((8, 8), np.int64)}, {}, "choose layout: class_map"),
        ({"out": np.zeros((1, 8, 8))}, {}, "a binary mask"),
        ({"out": np.zeros(1000)}, {}, r"logits are \[classes, height, width\] a picture, but .* \[1000\]"),
        ({"out": np.zeros((3, 0, 0))}, {}, "choose another output"),
        ({"out": np.zeros((3, 8, 8))}, {"layout": "class_map"}, "choose layout: logits"),
        ({"out": np.zeros(1000)}, {"layout": "class_map"}, "choose another output"),
        ({"out": np.zeros((3, 8, 8)), "aux": np.zeros((3, 8, 8))}, {}, r"several \(out, aux\); name the one"),
        ({"out": np.zeros((3, 8, 8))}, {"output": "mask"}, "has no 'mask'; it has out"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    outputs: dict[str, NDArray[Any]], spec: dict[str, str], said: str
) -> None:
    with pytest.raises(InvalidManifest, match=said):
        SegmentationTask(SegmentationSpec.model_validate(spec), LABELS).check(outputs)


def test_more_classes_than_a_map_holds_are_refused() -> None:
    labels = tuple(map(str, range(256)))
    with pytest.raises(InvalidManifest, match="there are 256; a map holds at most 255"):
        SegmentationTask(SegmentationSpec(), labels).check({"out": np.zeros((256, 2, 2))})
    assert segmented(logits_of(np.full((2, 2), 254), 255), plain(2), labels=labels[:255]).labels == ("254",)


def test_an_output_is_read_by_name() -> None:
    task = SegmentationTask(SegmentationSpec(output="out"), LABELS)
    outputs = {"aux": np.zeros((3, 4, 4), np.float32), "out": logits_of(np.full((4, 4), 1))}
    task.check(outputs)
    assert task.finish(outputs, plain(4), Options()).labels == ("green",)
