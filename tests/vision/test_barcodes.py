"""Barcodes are read from the full-size picture: rotated, small, dirty ones, and not at any price."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import zxingcpp
from numpy.typing import NDArray
from pydantic import ValidationError

from app.vision.barcodes import Barcode, Reading, read_barcodes
from app.vision.detection import Detections, DetectionSpec, DetectionTask
from app.vision.image import Picture, Size
from app.vision.tasks import Options

Pixels = NDArray[np.uint8]
EVERYTHING = Reading()


def code(text: str, kind: str = "Code128", scale: int = 3) -> Pixels:
    """A printed code on its white label, uint8 [h, w]."""
    barcode = zxingcpp.create_barcode(text, getattr(zxingcpp.BarcodeFormat, kind))
    bars = np.asarray(barcode.to_image(scale=scale, add_quiet_zones=True))
    return np.asarray(cv2.copyMakeBorder(bars, 8, 8, 8, 8, cv2.BORDER_CONSTANT, value=255), np.uint8)


def scene(label: Pixels, angle: float = 0.0) -> tuple[Pixels, NDArray[np.float32]]:
    """A grey picture with the label in its middle, turned, and the box around it."""
    height, width = label.shape[:2]
    side = int(np.hypot(height, width)) + 80
    canvas = np.full((side, side), 110, np.uint8)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    turn[:, 2] += (side - width) / 2, (side - height) / 2
    cv2.warpAffine(label, turn, (side, side), canvas, cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT)
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]) @ turn.T
    return canvas, np.array([*corners.min(axis=0), *corners.max(axis=0)], np.float32)


def picture(pixels: Pixels, factor: int = 1) -> Picture:
    return Picture(pixels, Size(pixels.shape[1] * factor, pixels.shape[0] * factor), factor)


def read_all(pixels: Pixels, *boxes: Sequence[float], reading: Reading = EVERYTHING) -> list[list[str]]:
    found = read_barcodes(picture(pixels), np.array(boxes, np.float32).reshape(-1, 4), reading)
    return [[code.text for code in codes] for codes in found]


def read(pixels: Pixels, box: NDArray[np.float32], reading: Reading = EVERYTHING) -> Barcode | None:
    (found,) = read_barcodes(picture(pixels), box[None], reading)
    return found[0] if found else None


@pytest.mark.parametrize("kind", ["Code128", "QRCode", "DataMatrix", "Code39"])
def test_one_and_two_dimensional_codes(kind: str) -> None:
    found = read(*scene(code("BX-104-7731", kind)))
    assert found is not None
    assert found.text == "BX-104-7731"
    assert found.format


@pytest.mark.parametrize("angle", [3, 15, 30, 45, 60, 75, 90, 115, 150, 180, 200])
@pytest.mark.parametrize("kind", ["Code128", "QRCode"])
def test_turned_labels(kind: str, angle: float) -> None:
    found = read(*scene(code("A-01-2", kind), angle))
    assert found is not None
    assert found.text == "A-01-2"


@pytest.mark.parametrize("kind", ["Code128", "QRCode"])
def test_codes_of_little_more_than_a_pixel_a_bar_are_read(kind: str) -> None:
    label = cv2.resize(code("A-012-77", kind, scale=4), None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    found = read(*scene(np.asarray(label, np.uint8)))
    assert found is not None
    assert found.text == "A-012-77"


@pytest.mark.parametrize(("kind", "at_least"), [("QRCode", 22), ("DataMatrix", 16)])
def test_most_codes_of_one_and_a_half_pixels_a_module_are_read_at_any_angle(kind: str, at_least: int) -> None:
    found = 0
    for angle in range(0, 60, 8):
        small = cv2.resize(code("BX-104-77", kind, scale=8), None, fx=1.5 / 8, fy=1.5 / 8, interpolation=cv2.INTER_AREA)
        pixels, box = scene(np.asarray(small, np.uint8), angle)
        soft = cv2.GaussianBlur(pixels, (0, 0), 0.5)
        for noise in (0, 6, 10):
            grain = np.random.default_rng(angle).normal(0, noise, soft.shape)
            barcode = read(np.asarray(np.clip(soft + grain, 0, 255), np.uint8), box)
            found += barcode is not None and barcode.text == "BX-104-77"
    assert found >= at_least  # of 24; at twice the size alone 20 and 8


def test_a_torn_label_is_still_read_where_bars_remain() -> None:
    label = code("PALLET-77", scale=4)
    label[: label.shape[0] // 2] = 255
    found = read(*scene(label))
    assert found is not None
    assert found.text == "PALLET-77"


def test_a_scratched_two_dimensional_code_corrects_itself() -> None:
    label = code("PALLET-77", "QRCode", scale=8)
    cv2.line(label, (90, 90), (130, 120), 255, 3)
    found = read(*scene(label))
    assert found is not None
    assert found.text == "PALLET-77"


def test_what_cannot_be_read_is_none_in_its_place() -> None:
    pixels, box = scene(code("GOOD"))
    nothing = np.array([0, 0, 30, 30], np.float32)
    tiny = np.array([5, 5, 5, 5], np.float32)
    outside = np.array([10_000, 10_000, 10_010, 10_010], np.float32)
    assert read_all(pixels, nothing, box, tiny, outside) == [[], ["GOOD"], [], []]


def test_overlapping_boxes_do_not_cost_without_end() -> None:
    pixels, box = scene(code("GOOD"))
    everything = np.array([0, 0, pixels.shape[1], pixels.shape[0]], np.float32)
    elsewhere = np.array([0, 0, pixels.shape[1], 20], np.float32)
    assert read_all(pixels, *[everything] * 10) == [["GOOD"], *[[]] * 9]
    assert read_all(pixels, *[everything] * 10, box)[-1] == ["GOOD"]  # what was read is the smallest box's
    assert read_all(pixels, *[elsewhere] * 400, box)[-1] == []


def detections(box: NDArray[np.float32]) -> Detections:
    boxes = np.stack([np.zeros(4, np.float32), box])
    return Detections(boxes, np.array([0.9, 0.8], np.float32), np.array([0, 1]), ("carton", "label"))


@pytest.mark.parametrize(
    ("manifest", "request_", "wanted"),
    [(True, None, True), (True, False, False), (False, None, False), (False, True, True)],
)
def test_manifest_and_request_decide_whether_labels_are_read(
    manifest: bool, request_: bool | None, wanted: bool
) -> None:
    pixels, box = scene(code("GOOD"))
    task = DetectionTask(DetectionSpec(decoder="boxes_scores", read_barcodes=manifest), ("carton", "label"))
    decoded: list[Pixels] = []

    def decode() -> Picture:
        decoded.append(pixels)
        return picture(pixels)

    refined = task.refine(detections(box), decode, Options(read_barcodes=request_))
    assert len(decoded) == wanted
    if wanted:
        assert refined.barcodes is not None
        assert [[code.text for code in codes] for codes in refined.barcodes] == [[], ["GOOD"]]
    else:
        assert refined.barcodes is None


def test_a_picture_without_labels_is_not_decoded_again() -> None:
    task = DetectionTask(DetectionSpec(decoder="boxes_scores", read_barcodes=True), ("carton", "label"))
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ())

    def decode() -> Picture:
        raise AssertionError("there was nothing to read")

    assert task.refine(nothing, decode, Options()) is nothing


def page(*labels: tuple[str, int, int]) -> Pixels:
    """A grey page of 700 x 400 with a code's label at each left and top."""
    pixels = np.full((400, 700), 128, np.uint8)
    for text, left, top in labels:
        bars = code(text, scale=2)
        pixels[top : top + bars.shape[0], left : left + bars.shape[1]] = bars
    return pixels


def test_a_neighbours_code_is_not_borrowed_nor_counted_twice() -> None:
    pixels = page(("PALLET-0001", 60, 40))
    label = [55, 35, 360, 150]
    below = [50, 155, 650, 380]  # its margin reaches over the label's bars
    assert read_all(pixels, below, label) == [[], ["PALLET-0001"]]
    assert read_all(pixels, label, below) == [["PALLET-0001"], []]
    assert read_all(pixels, below) == [[]]


def test_a_code_goes_to_the_smallest_box_that_holds_its_middle() -> None:
    pixels = page(("A-1", 60, 40))
    assert read_all(pixels, [0, 0, 700, 400], [50, 30, 300, 160]) == [[], ["A-1"]]


def test_several_codes_on_a_label_are_all_given_from_top_to_bottom() -> None:
    pixels = page(("LOWER", 40, 280), ("UPPER", 400, 20), ("MIDDLE", 60, 150))
    assert read_all(pixels, [0, 0, 700, 400]) == [["UPPER", "MIDDLE", "LOWER"]]


def test_the_same_text_on_two_labels_is_two_codes() -> None:
    pixels = page(("SAME", 20, 20), ("SAME", 400, 250))
    assert read_all(pixels, [0, 0, 300, 150], [380, 230, 690, 399]) == [["SAME"], ["SAME"]]


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 180])
@pytest.mark.parametrize("kind", ["Code128", "QRCode"])
def test_the_middle_is_known_however_a_label_lies(kind: str, angle: float) -> None:
    pixels, box = scene(code("A-01-2", kind), angle)
    middle, reach = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    tight = np.concatenate([middle - reach / 6, middle + reach / 6])
    away = np.array([0, 0, *middle - reach / 6 - 3], np.float32)
    assert read_all(pixels, box, tight, away) == [[], ["A-01-2"], []]


def test_boxes_are_pixels_of_the_original_where_the_grey_picture_is_reduced() -> None:
    pixels, box = scene(code("GOOD"))
    (found,) = read_barcodes(picture(pixels, factor=4), box[None] * 4)
    assert [one.text for one in found] == ["GOOD"]


def test_codes_on_a_label_of_many_millions_of_pixels_are_read() -> None:
    pixels = cv2.resize(page(("LARGE", 60, 40)), (4900, 2800), interpolation=cv2.INTER_NEAREST)
    assert read_all(np.asarray(pixels, np.uint8), [0, 0, 4900, 2800]) == [["LARGE"]]


def test_only_the_formats_that_the_manifest_names_are_read() -> None:
    spec = DetectionSpec(decoder="boxes_scores", barcode_formats=("QR Code", "EAN-13"))
    assert read(*scene(code("BX-1")), spec.reading) is None
    assert read(*scene(code("BX-1", "QRCode")), spec.reading) is not None


def test_a_format_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValidationError, match="'QR Code'"):
        DetectionSpec.model_validate({"decoder": "boxes_scores", "barcode_formats": ["QR"]})
    with pytest.raises(ValidationError, match="Codabar is not among barcode_formats"):
        DetectionSpec(decoder="boxes_scores", barcode_formats=("ITF",), barcode_check_digits=("Codabar",))
