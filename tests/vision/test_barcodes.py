"""Barcodes are read from the full-size picture: rotated, small, dirty ones, and not at any price."""

import cv2
import numpy as np
import pytest
import zxingcpp
from numpy.typing import NDArray

from app.vision.barcodes import Barcode, read_barcodes
from app.vision.detection import Detections, DetectionSpec, DetectionTask
from app.vision.tasks import Options

Pixels = NDArray[np.uint8]


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


def read(pixels: Pixels, box: NDArray[np.float32]) -> Barcode | None:
    (found,) = read_barcodes(pixels, [box])
    return found


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
    found = list(read_barcodes(pixels, [nothing, box, tiny, outside]))
    assert [code and code.text for code in found] == [None, "GOOD", None, None]


def test_overlapping_boxes_do_not_cost_without_end() -> None:
    pixels, box = scene(code("GOOD"))
    everything = np.array([0, 0, pixels.shape[1], pixels.shape[0]], np.float32)
    found = list(read_barcodes(pixels, [everything] * 10 + [box]))
    assert found[0] is not None
    assert found[-1] is None


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

    def decode() -> Pixels:
        decoded.append(pixels)
        return pixels

    refined = task.refine(detections(box), decode, Options(read_barcodes=request_))
    assert len(decoded) == wanted
    if wanted:
        assert refined.barcodes is not None
        assert [code and code.text for code in refined.barcodes] == [None, "GOOD"]
    else:
        assert refined.barcodes is None


def test_a_picture_without_labels_is_not_decoded_again() -> None:
    task = DetectionTask(DetectionSpec(decoder="boxes_scores", read_barcodes=True), ("carton", "label"))
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ())

    def decode() -> Pixels:
        raise AssertionError("there was nothing to read")

    assert task.refine(nothing, decode, Options()) is nothing
