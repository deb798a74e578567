import numpy as np
import pytest

from app.errors import EngineFailure, InvalidManifest, InvalidRequest
from app.vision.image import Size
from app.vision.preprocessing import Placement
from app.vision.tasks import DEFAULTS, Options
from app.vision.text_detection import TextDetection, TextDetectionSpec, TextDetectionTask


def find(shares: np.ndarray, options: Options = DEFAULTS, scale: float = 1.0, **spec: object) -> TextDetection:
    height, width = shares.shape
    placement = Placement(scale, scale, 0, 0, Size(int(width / scale), int(height / scale)), Size(width, height))
    return task(**spec).finish({"map": shares[None]}, placement, options)


def task(**spec: object) -> TextDetectionTask:
    return TextDetectionTask(TextDetectionSpec.model_validate(spec), ())


def bars(*boxes: tuple[int, int, int, int], share: float = 0.9) -> np.ndarray:
    shares = np.zeros((200, 300), np.float32)
    for x0, y0, x1, y1 in boxes:
        shares[y0:y1, x0:x1] = share
    return shares


def test_a_bar_is_a_line_grown_by_its_area_over_its_circumference() -> None:
    found = find(bars((50, 60, 150, 81)), unclip_ratio=1.5)
    # The rectangle through the outer pixels' centres is 99 x 20, so it is moved out by 99 * 20 * 1.5 / 238 = 12.5.
    assert np.abs(found.quads[0] - [[38, 48], [162, 48], [162, 92], [38, 92]]).max() <= 1
    assert found.scores == pytest.approx([0.9], abs=1e-3)


def test_lines_are_told_in_pixels_of_the_original() -> None:
    whole, half = find(bars((50, 60, 150, 80))), find(bars((50, 60, 150, 80)), scale=0.5)
    assert np.abs(half.quads - 2 * whole.quads).max() <= 1


def test_lines_come_in_the_order_they_are_read() -> None:
    found = find(bars((180, 20, 260, 30), (20, 22, 120, 32), (20, 100, 120, 110)))
    assert found.quads[:, 0, 0].argsort().tolist() == [0, 2, 1]
    assert np.diff(found.quads[:, 0, 1]).tolist()[-1] > 50


def test_a_leaning_bar_has_a_leaning_quad() -> None:
    import cv2

    shares = np.zeros((200, 300), np.float32)
    cv2.fillConvexPoly(shares, cv2.boxPoints(((150, 100), (120, 20), 20)).astype(np.int32), (0.8,))
    quad = find(shares).quads[0]
    slope = np.degrees(np.arctan2(*(quad[1] - quad[0])[::-1]))
    assert slope == pytest.approx(20, abs=1.5)


def test_a_white_picture_has_no_lines() -> None:
    found = find(np.zeros((64, 64), np.float32))
    assert found.quads.shape == (0, 4, 2)
    assert found.scores.shape == (0,)


@pytest.mark.parametrize("box", [(10, 10, 11, 11), (10, 10, 12, 12), (10, 10, 200, 11), (299, 199, 300, 200)])
def test_specks_are_no_lines(box: tuple[int, int, int, int]) -> None:
    assert len(find(bars(box)).scores) == 0


def test_a_line_over_all_of_the_picture_stays_within_it() -> None:
    quad = find(np.full((40, 90), 0.9, np.float32)).quads[0]
    assert quad.min() == 0
    assert quad.max(axis=0).tolist() == [89, 39]


def test_scores_below_the_threshold_are_left_out() -> None:
    shares = bars((20, 20, 120, 40), share=0.6) + bars((20, 100, 120, 120), share=0.8)
    assert len(find(shares).scores) == 2
    assert find(shares, score_threshold=0.7).scores == pytest.approx([0.8], abs=1e-3)
    assert find(shares, Options(score_threshold=0.7)).scores == pytest.approx([0.8], abs=1e-3)


def test_of_many_the_best_are_answered() -> None:
    shares = bars((20, 20, 120, 40), share=0.6) + bars((20, 100, 120, 120), share=0.8)
    assert find(shares, Options(max_detections=1)).scores == pytest.approx([0.8], abs=1e-3)
    assert find(shares, max_lines=1).scores == pytest.approx([0.8], abs=1e-3)


def test_the_score_within_the_outline_ignores_what_is_beside_it() -> None:
    shares = bars((20, 20, 120, 40)) + bars((20, 40, 40, 100))  # an L
    assert find(shares, score_mode="slow").scores[0] > find(shares, score_threshold=0.0).scores[0] + 0.2


def test_dilation_joins_what_a_pixel_keeps_apart() -> None:
    shares = bars((20, 20, 60, 40), (61, 20, 120, 40))
    assert (len(find(shares).scores), len(find(shares, dilation=True).scores)) == (2, 1)


def test_a_map_may_be_coarser_than_the_input() -> None:
    placement = Placement(1, 1, 0, 0, Size(300, 200), Size(300, 200))
    fine = task().finish({"map": bars((52, 60, 152, 80))}, placement, DEFAULTS).quads
    coarse = task().finish({"map": bars((52, 60, 152, 80))[::4, ::4]}, placement, DEFAULTS).quads
    assert np.abs(fine - coarse).max() < 12


@pytest.mark.parametrize("wrong", [np.nan, -0.5, 1.5])
def test_a_map_that_is_none_is_a_failure(wrong: float) -> None:
    shares = bars((20, 20, 120, 40))
    shares[0, 0] = wrong
    with pytest.raises(EngineFailure, match="0 to 1"):
        find(shares)


def test_an_output_that_is_no_map_is_refused_at_load() -> None:
    with pytest.raises(InvalidManifest, match=r"\[7, 3\].*|shape"):
        task().check({"scores": np.zeros((7, 3, 2), np.float32)})
    with pytest.raises(InvalidManifest, match="sigmoid"):
        task().check({"map": np.full((1, 8, 8), -3, np.float32)})


@pytest.mark.parametrize(
    "options",
    [Options(classes=("a",)), Options(normalize=True), Options(embedding_format="json"), Options(map_size="model")],
)
def test_options_that_mean_nothing_are_refused(options: Options) -> None:
    with pytest.raises(InvalidRequest, match="no classes"):
        task().check_options(options)
    task().check_options(Options(score_threshold=0.4, max_detections=3))
