"""What is prepared on a device is what the CPU prepares: the same places, nearly the same pixels."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.vision import image, preprocessing
from app.vision.image import Picture, Size, read_header
from app.vision.preprocessing import InputSpec, Placement, target_size
from tests.vision.pictures import exif, file_of, photograph, picture_of

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.torch

EXAMPLES = sorted(Path("models/shelf/examples").glob("*.jpg"))
RESIZES = ("letterbox", "stretch", "center_crop")
SAME_PIXELS = 2.1
"""Most levels of 255 by which any value may differ where both start from the same decoded pixels: the CPU rounds after
each step, the device once.
"""
MEAN = {"cpu": 0.6, "cuda": 1.5}
MOST = {"cpu": 4.0, "cuda": 8.0}
"""Levels of 255 by which a JPEG may differ on average, and in 99 of 100 values: it shrinks in another way as well, and
nvJPEG enlarges the colours of a 4:2:0 file by another filter than libjpeg.
"""


def spec_of(**section: Any) -> InputSpec:
    return InputSpec.model_validate({"size": [64, 48], **section})


def on_host(picture: Picture, spec: InputSpec) -> tuple[NDArray[Any], Placement]:
    out = np.zeros(spec.shape, spec.numpy_dtype)
    return out, preprocessing.prepare(picture, spec, out)


def on_device(pixels: "torch.Tensor", spec: InputSpec, orientation: int = 1, factor: int = 1) -> tuple[Any, Placement]:
    from app.vision.device_preprocessing import DevicePreprocessing

    way = DevicePreprocessing(spec, pixels.device)
    out = way.empty_batch(len(pixels))
    placement = way.prepare(pixels, orientation, factor, out)
    return out.cpu().numpy(), placement


def tensor_of(pixels: NDArray[np.uint8], place: "torch.device") -> "torch.Tensor":
    import torch

    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous().to(place)


def levels(left: NDArray[Any], right: NDArray[Any], spec: InputSpec) -> NDArray[np.float64]:
    """The differences, as levels of 255."""
    deviation = np.asarray(spec.std).reshape((3, 1, 1) if spec.layout == "nchw" else (1, 1, 3))
    return np.asarray(np.abs(left.astype(np.float64) - right.astype(np.float64)) * deviation / spec.scale)


@pytest.mark.parametrize("interpolation", ["linear", "area", "cubic"])
@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize(
    "size", [(300, 240), (33, 47), (64, 48), (1, 1), (1, 400), (500, 1), (129, 97), (1000, 37), (65, 49), (50, 600)]
)
def test_the_same_pixels_give_the_same_input(
    place: "torch.device", size: tuple[int, int], resize: str, interpolation: str
) -> None:
    spec = spec_of(resize=resize, interpolation=interpolation)
    pixels = photograph(*size)
    expected, wanted = on_host(picture_of(pixels), spec)
    found, placement = on_device(tensor_of(pixels, place), spec)
    assert placement == wanted
    assert levels(found[0], expected, spec).max() <= SAME_PIXELS


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("align", ["center", "top_left"])
def test_every_layout_order_dtype_and_margin(
    place: "torch.device", layout: str, channels: str, dtype: str, align: str
) -> None:
    means = {} if dtype == "uint8" else {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.25, 0.2]}
    spec = spec_of(layout=layout, channels=channels, dtype=dtype, align=align, pad=7, **means)
    pixels = photograph(301, 97)
    expected, wanted = on_host(picture_of(pixels), spec)
    found, placement = on_device(tensor_of(pixels, place), spec)
    assert found.dtype == expected.dtype
    assert placement == wanted
    assert levels(found[0], expected, spec).max() <= SAME_PIXELS


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(512, 320), (224, 224), (128, 96)])
def test_real_jpegs_agree(place: "torch.device", path: Path, resize: str, size: tuple[int, int]) -> None:
    from app.vision.device_preprocessing import decode, encoded

    spec = spec_of(size=size, resize=resize)
    data = path.read_bytes()
    header = read_header(data)
    target = target_size(header.upright, spec)
    expected, wanted = on_host(image.decode(data, header, target), spec)
    (pixels,) = decode([encoded(data)], place)
    found, placement = on_device(pixels[None], spec, header.orientation, image.reduction(header, target))
    differences = levels(found[0], expected, spec)
    assert placement == wanted
    assert differences.mean() <= MEAN[place.type]
    assert np.percentile(differences, 99) <= MOST[place.type]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(place: "torch.device", orientation: int) -> None:
    from app.vision.device_preprocessing import decode, encoded

    data = file_of(photograph(90, 60), "JPEG", quality=95, exif=exif(orientation))
    header = read_header(data)
    spec = spec_of()
    expected, wanted = on_host(image.decode(data, header), spec)
    (pixels,) = decode([encoded(data)], place)
    found, placement = on_device(pixels[None], spec, header.orientation)
    assert placement == wanted
    assert levels(found[0], expected, spec).mean() <= MEAN[place.type]


def test_a_grey_jpeg_has_three_channels(place: "torch.device") -> None:
    from app.vision.device_preprocessing import decode, encoded

    data = file_of(photograph(64, 48)[:, :, 0], "JPEG", quality=95)
    (pixels,) = decode([encoded(data)], place)
    assert pixels.shape == (3, 48, 64)
    found = pixels.cpu().numpy().transpose(1, 2, 0)
    assert np.abs(found.astype(int) - image.decode(data, read_header(data)).pixels.astype(int)).max() <= 1


def test_pictures_of_one_size_go_together_and_stay_apart(place: "torch.device") -> None:
    import torch

    spec = spec_of()
    pictures = [photograph(100, 80, seed) for seed in range(3)]
    found, _ = on_device(torch.cat([tensor_of(pixels, place) for pixels in pictures]), spec)
    for row, pixels in zip(found, pictures, strict=True):
        assert levels(row, on_host(picture_of(pixels), spec)[0], spec).max() <= SAME_PIXELS


def test_a_large_jpeg_shrinks_as_far_as_the_cpus(place: "torch.device") -> None:
    from app.vision.device_preprocessing import decode, encoded

    data = file_of(photograph(1001, 777), "JPEG", quality=95)
    header, spec = read_header(data), spec_of()
    target = target_size(header.upright, spec)
    factor = image.reduction(header, target)
    assert factor == 8
    assert image.decode(data, header, target).pixels.shape[:2] == (98, 126)
    found, placement = on_device(decode([encoded(data)], place)[0][None], spec, 1, factor)
    expected, wanted = on_host(image.decode(data, header, target), spec)
    assert placement == wanted
    assert placement.size == Size(1001, 777)
    assert levels(found[0], expected, spec).mean() <= MEAN[place.type]


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(3, 4000), (4000, 5), (1, 1), (7, 9), (2049, 1), (517, 1031), (1023, 511)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_odd_jpegs_lie_where_the_cpu_puts_them(
    place: "torch.device", size: tuple[int, int], resize: str, orientation: int
) -> None:
    from app.vision.device_preprocessing import decode, encoded

    data = file_of(photograph(*size), "JPEG", quality=95, exif=exif(orientation))
    header, spec = read_header(data), spec_of(resize=resize)
    target = target_size(header.upright, spec)
    expected, wanted = on_host(image.decode(data, header, target), spec)
    (pixels,) = decode([encoded(data)], place)
    found, placement = on_device(pixels[None], spec, orientation, image.reduction(header, target))
    assert placement == wanted
    # Of 4,000 rows 48 are made by six halvings, each of which rounds on the CPU.
    assert levels(found[0], expected, spec).mean() <= 2.5 * MEAN[place.type]
