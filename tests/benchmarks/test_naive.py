"""The naive endpoint sees the same picture as the service, so that speed is all that differs."""

import numpy as np
import pytest

from app.bench import pictures
from app.vision import image, preprocessing
from app.vision.preprocessing import InputSpec
from benchmarks import naive

SPECS = [
    {"resize": "letterbox"},
    {"resize": "letterbox", "align": "top_left", "channels": "bgr"},
    {"resize": "stretch", "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    {"resize": "center_crop", "layout": "nhwc"},
    {"resize": "stretch", "dtype": "uint8"},
]


@pytest.mark.parametrize("section", SPECS)
def test_its_input_is_the_services(section: dict[str, object]) -> None:
    spec = InputSpec.model_validate({"size": [96, 64], **section})
    picture = pictures.encode(".jpg", pictures.texture(200, 150, seed=1))
    expected = np.zeros(spec.shape, spec.numpy_dtype)
    placement = preprocessing.prepare(image.decode(picture, image.read_header(picture)), spec, expected)
    row, place = naive.prepare(picture, spec)
    assert row.shape == spec.shape
    assert row.dtype == spec.numpy_dtype
    assert np.abs(row.astype(np.float32) - expected).mean() < 0.05 * np.ptp(expected)
    corners = np.array([[0, 0, 96, 64]], np.float32)
    assert np.abs(place.to_original(corners) - placement.to_original(corners)).max() <= 3
