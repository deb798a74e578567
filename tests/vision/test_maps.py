"""Dense outputs to maps of numbers over the picture that was sent."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.errors import EngineFailure, InvalidManifest, InvalidRequest
from app.vision.image import Size
from app.vision.maps import MOST_VALUES, Maps, MapsSpec, MapsTask, decode_plane, encode_plane
from app.vision.preprocessing import InputSpec, Placement, prepare
from app.vision.tasks import Options
from tests.vision.pictures import picture_of


def placed(picture: Size, **spec: Any) -> Placement:
    """Where a picture of this size lies in the model's input."""
    described = InputSpec(**spec)
    pixels = np.zeros((picture.height, picture.width, 3), np.uint8)
    return prepare(picture_of(pixels), described, np.empty(described.shape, np.float32))


PLAIN = placed(Size(8, 8), size=Size(8, 8))


def mapped(
    table: NDArray[Any],
    placement: Placement = PLAIN,
    options: Options | None = None,
    labels: tuple[str, ...] = (),
    **spec: Any,
) -> Maps:
    task = MapsTask(MapsSpec(**spec), labels)
    task.check({"out": table})
    task.check_options(options or Options())
    return task.finish({"out": table}, placement, options or Options())


def decoded(found: Maps) -> NDArray[np.float32]:
    return np.stack([decode_plane(file.png, file.scale, file.offset) for file in found.files])


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8)])
def test_a_single_map_needs_no_name(shape: tuple[int, ...]) -> None:
    table = np.random.default_rng(0).standard_normal(shape, np.float32)
    found = mapped(table, unit="metres")
    assert (found.labels, found.unit, found.map_box) == (("map",), "metres", (0, 0, 8, 8))
    assert np.array_equal(found.planes, table.reshape(1, 8, 8))
    assert (found.files[0].minimum, found.files[0].maximum) == (table.min(), table.max())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(-30, 30), st.floats(-1e6, 1e6))
def test_the_file_has_every_number_within_half_a_step(seed: int, power: int, middle: float) -> None:
    plane = (np.random.default_rng(seed).standard_normal((5, 7)) * 10.0**power + middle).astype(np.float32)
    file = encode_plane(plane)
    pixels = cv2.imdecode(np.frombuffer(file.png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (pixels.dtype, pixels.shape) == (np.uint16, (5, 7))
    told = pixels.astype(np.float64) * file.scale + file.offset
    assert np.abs(told - plane).max() <= 0.5001 * file.scale + 1e-12 * np.abs(plane).max()
    assert (pixels.min(), pixels.max()) in ((0, 65535), (0, 0))


def test_the_widest_range_and_a_single_number_can_be_told() -> None:
    widest = np.array([[-3e38, 3e38]], np.float32)
    file = encode_plane(widest)
    assert np.allclose(decode_plane(file.png, file.scale, file.offset), widest, rtol=1e-4)
    flat = encode_plane(np.full((3, 3), 2.5, np.float32))
    assert (flat.scale, flat.offset, flat.minimum, flat.maximum) == (0, 2.5, 2.5, 2.5)
    assert (decode_plane(flat.png, flat.scale, flat.offset) == 2.5).all()


def test_margins_are_cut_off_and_the_map_lies_on_the_whole_picture() -> None:
    table = np.zeros((8, 8), np.float32)
    table[2:6] = np.arange(8)
    found = mapped(table, placed(Size(160, 80), size=Size(8, 8)))
    assert found.planes.shape == (1, 4, 8)
    assert (found.planes[0] == np.arange(8)).all()
    assert found.map_box == (0, 0, 160, 80)


def test_as_large_as_the_picture_it_is_as_pytorch_interpolates() -> None:
    """`torch.nn.functional.interpolate(…, mode="bicubic", align_corners=False)`, three numbers of which are known."""
    table = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]], np.float32)
    found = mapped(table, placed(Size(8, 8), size=Size(4, 4), resize="stretch"), Options(map_size="original"))
    assert found.planes.shape == (1, 8, 8)
    assert found.planes[0, 0, 0] == pytest.approx(-0.52734375, abs=1e-5)
    assert found.planes[0, 3, 3] == pytest.approx(6.484375, abs=1e-5)
    assert found.planes[0, 2, 5] == pytest.approx(5.0039062, abs=1e-5)


def test_after_a_centre_crop_the_map_lies_on_the_middle() -> None:
    table = np.ones((8, 8), np.float32)
    placement = placed(Size(320, 160), size=Size(8, 8), resize="center_crop")
    found = mapped(table, placement, Options(map_size="original"))
    assert found.map_box == (80, 0, 240, 160)
    assert found.planes.shape == (1, 160, 160)


def test_maps_of_a_very_large_picture_are_as_large_as_an_answer_may_be() -> None:
    for size in (Size(20_000, 10_000), Size(100_000, 3), Size(2, 70_000)):
        placement = Placement(8 / size.width, 8 / size.height, 0, 0, size, Size(8, 8))
        found = mapped(np.eye(8, dtype=np.float32), placement, Options(map_size="original"))
        assert found.planes.size <= MOST_VALUES
        assert found.map_box == (0, 0, *size)


def test_channels_are_answered_by_name() -> None:
    table = np.arange(3, dtype=np.float32)[:, None, None] + np.eye(8, dtype=np.float32)
    found = mapped(table, labels=("a", "b", "c"))
    assert found.labels == ("a", "b", "c")
    found = mapped(table, options=Options(classes=("c", "0")), labels=("a", "b", "c"))
    assert (found.labels, found.class_ids.tolist()) == (("a", "c"), [0, 2])
    assert np.array_equal(found.planes, table[[0, 2]])
    with pytest.raises(InvalidRequest, match="no class 'd'"):
        mapped(table, options=Options(classes=("d",)), labels=("a", "b", "c"))


def test_scores_are_made_of_logits_and_stay_scores() -> None:
    table = np.full((8, 8), -400, np.float32)
    table[:, 4:] = 400
    placement = placed(Size(64, 64), size=Size(8, 8))
    found = mapped(table, placement, Options(map_size="original"), unit="score", apply_sigmoid=True)
    assert (found.planes.min(), found.planes.max()) == (0, 1)


def test_scores_stay_scores_however_they_are_interpolated() -> None:
    table = np.zeros((8, 8), np.float32)
    table[3:5, 3:5] = 1
    placement = placed(Size(64, 64), size=Size(8, 8))
    found = mapped(table, placement, Options(map_size="original"), unit="score", interpolation="cubic")
    assert (found.planes.min(), found.planes.max()) == (0, 1)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_no_answer(wrong: float) -> None:
    table = np.zeros((8, 8), np.float32)
    table[3, 3] = wrong
    with pytest.raises(EngineFailure, match="not finite"):
        MapsTask(MapsSpec(), ()).finish({"out": table}, PLAIN, Options())


@pytest.mark.parametrize(
    ("shape", "labels", "spec", "words"),
    [
        ((8,), (), {}, r"numbers \[height, width\]"),
        ((3, 8, 8), (), {}, "the model gives 3 maps, but 1 have a name"),
        ((8, 8, 3), ("a", "b", "c"), {}, "channels last"),
        ((8, 8), (), {"unit": "score"}, "no scores of 0 to 1; write `apply_sigmoid: true`"),
        ((1, 4096, 2048), (), {}, "an answer has at most 4194304"),
    ],
)
def test_an_output_that_does_not_fit_is_refused(
    shape: tuple[int, ...], labels: tuple[str, ...], spec: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidManifest, match=words):
        MapsTask(MapsSpec(**spec), labels).check({"out": np.full(shape, 7, np.float32)})


@pytest.mark.parametrize("options", [Options(top_k=1), Options(normalize=True), Options(masks="png")])
def test_options_of_other_tasks_are_refused(options: Options) -> None:
    with pytest.raises(InvalidRequest, match="maps"):
        MapsTask(MapsSpec(), ()).check_options(options)
