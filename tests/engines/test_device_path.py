"""A lane's batch through the device: who is answered what, where, and whether it is used at all.

The device is PyTorch's CPU, and a GPU where there is one; the engine answers each picture with its mean colour.
"""

import asyncio
import logging
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from app.core import device_path
from app.core.device_path import DevicePath
from app.core.model import Decoding, Model
from app.core.request import AdmittedCrop, AdmittedRequest, Answer, InferenceRequest, Priority
from app.engines import catalog, devices
from app.engines.base import Array
from app.errors import DeadlineExceeded, DeviceUnavailable, EngineUnavailable, InvalidImage
from app.loading import decode_placement
from app.vision.image import Picture, Size, read_header
from app.vision.region import Region
from tests.engines.conftest import need
from tests.fixtures.engines import SIZE, Gate, MeanColourEngine, mean_colours
from tests.fixtures.pictures import Colour, solid
from tests.fixtures.service import Running, ask, colour_model, infer, running, running_core, seen_colour
from tests.fixtures.waiting import until_async
from tests.vision.pictures import exif, file_of, photograph

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.torch

RED, GREEN, BLUE = (254, 0, 0), (0, 255, 1), (0, 0, 254)
"""As a JPEG of one colour gives them back."""


class TensorColourEngine(MeanColourEngine):
    """The mean colour of batches that come as tensors too; `on_device` counts the rows of those."""

    def __init__(self, before: Callable[[Array], object] | None = None) -> None:
        super().__init__(before)
        self.on_device: list[int] = []

    def run_on_device(self, batch: "torch.Tensor") -> dict[str, Array]:
        """See `TensorEngine.run_on_device`."""
        assert batch.is_contiguous()
        self.on_device.append(len(batch))
        return self.run(batch.cpu().numpy())


def jpeg(colour: Colour, size: tuple[int, int] = (64, 48)) -> bytes:
    return file_of(Image.new("RGB", size, colour), "JPEG", quality=95)


def undecodable() -> bytes:
    """A JPEG whose markers are all in order, and whose Huffman table is nonsense."""
    data = bytearray(jpeg(RED))
    table = data.index(b"\xff\xc4") + 5
    data[table : table + 16] = b"\xff" * 16
    return bytes(data)


def admitted(data: bytes) -> AdmittedRequest:
    return AdmittedRequest(InferenceRequest(data, request_id="test"), read_header(data))


def with_path(engine: MeanColourEngine, place: "torch.device", max_batch_size: int = 8) -> Model:
    model = colour_model(engine, max_batch_size=max_batch_size)
    model.decode_with(DevicePath(model.input_spec, place), Decoding(str(place), "a test"))
    return model


def prepared(model: Model, files: list[bytes]) -> device_path.PreparedBatch:
    assert model.device_path is not None
    return model.device_path.prepare([admitted(data) for data in files], model.empty_batch(), model.prepare_row)


def colours(batch: device_path.PreparedBatch) -> dict[int, Colour]:
    """Each row's colour, by the picture that it shows."""
    rows = mean_colours(batch.rows.cpu().numpy())
    shown = [place for place, _ in batch.placed]
    return {place: tuple(np.round(row * 255).astype(int).tolist()) for place, row in zip(shown, rows, strict=True)}


def near(found: Colour, wanted: Colour) -> bool:
    return all(abs(left - right) <= 2 for left, right in zip(found, wanted, strict=True))


def test_pictures_of_all_kinds_become_rows_of_one_batch(place: "torch.device") -> None:
    files = [
        jpeg(RED),
        solid(GREEN, kind="PNG"),
        jpeg(BLUE, (100, 30)),
        jpeg(GREEN),
        file_of(Image.new("RGB", (64, 48), RED), "JPEG", progressive=True),
        file_of(Image.new("RGB", (64, 48), BLUE), "WEBP", lossless=True),
        file_of(Image.new("RGB", (30, 100), RED), "JPEG", exif=exif(6)),
    ]
    model = with_path(MeanColourEngine(), place)
    batch = prepared(model, files)
    assert batch.failures == []
    assert batch.rows.shape == (7, 3, SIZE, SIZE)
    assert batch.rows.device == place
    found = colours(batch)
    for number, colour in enumerate((RED, GREEN, BLUE, GREEN, RED, BLUE, RED)):
        assert near(found[number], colour)
    sizes = {number: tuple(placement.size) for number, placement in batch.placed}
    assert (sizes[0], sizes[2], sizes[6]) == ((64, 48), (100, 30), (100, 30))


def test_only_ordinary_jpegs_are_decoded_there(place: "torch.device") -> None:
    model = with_path(MeanColourEngine(), place)
    assert model.device_path is not None
    hosted: list[int] = []

    def on_host(picture: AdmittedRequest, out: Array) -> object:
        hosted.append(files.index(picture.request.image))
        return model.prepare_row(picture, out)

    files = [jpeg(RED), solid(GREEN), CUT, jpeg(GREEN)]
    batch = model.device_path.prepare([admitted(data) for data in files], model.empty_batch(), on_host)  # type: ignore[arg-type]
    assert hosted == [1, 2]
    assert [place for place, _ in batch.placed] == [0, 3, 1]
    ((damaged, error),) = batch.failures
    assert (damaged, type(error)) == (2, InvalidImage)


def test_parts_of_pictures_are_prepared_on_the_host_beside_whole_ones(place: "torch.device") -> None:
    """Crops, which are decoded already, and pictures of which a part is asked about."""
    two = np.zeros((40, 80, 3), np.uint8)
    two[:, :40], two[:, 40:] = RED, BLUE
    whole = admitted(file_of(two, "JPEG", quality=100, subsampling=0))
    part = replace(whole, region=Region(48, 4, 76, 36))
    crop = AdmittedCrop(whole.request, Picture(np.full((9, 7, 3), GREEN, np.uint8), Size(7, 9)))
    model = with_path(MeanColourEngine(), place)
    assert model.device_path is not None
    items = [part, admitted(jpeg(RED)), crop]
    batch = model.device_path.prepare(items, model.empty_batch(), model.prepare_row)
    assert batch.failures == []
    found, sizes = colours(batch), {number: tuple(placement.size) for number, placement in batch.placed}
    assert near(found[0], BLUE)
    assert near(found[1], RED)
    assert near(found[2], GREEN)
    assert sizes == {0: (28, 32), 1: (64, 48), 2: (7, 9)}


async def test_work_of_lanes_and_crops_go_with_pictures_over_the_device(place: "torch.device") -> None:
    engine = TensorColourEngine()
    picture = admitted(jpeg(BLUE))
    with (
        running_core(with_path(engine, place), lanes=2) as core,
        core.service.registry.lease() as model,
        core.admission.permit(Priority.INTERACTIVE) as permit,
    ):
        async with core.service.crops.cut(picture, [Region(0, 0, 8, 8)] * 3, permit, model) as cut:
            answers = await core.service.crops.ask(picture.request, cut, permit, model)
    assert all(isinstance(answer, Answer) for answer in answers)
    assert sum(engine.on_device) == 3


PHOTO = file_of(photograph(160, 120), "JPEG")
CUT = PHOTO[: len(PHOTO) // 2]


@pytest.mark.parametrize("damaged", [CUT, undecodable()], ids=["cut", "nonsense"])
def test_a_damaged_picture_fails_alone(place: "torch.device", damaged: bytes) -> None:
    model = with_path(MeanColourEngine(), place)
    batch = prepared(model, [jpeg(RED), damaged, jpeg(BLUE)])
    assert [(place, type(error)) for place, error in batch.failures] == [(1, InvalidImage)]
    found = colours(batch)
    assert near(found[0], RED)
    assert near(found[2], BLUE)


def test_a_picture_that_lacks_only_its_end_is_left_to_the_cpu(place: "torch.device") -> None:
    batch = prepared(with_path(MeanColourEngine(), place), [jpeg(RED), jpeg(BLUE)[:-2]])
    assert batch.failures == []
    assert near(colours(batch)[1], BLUE)


def test_a_batch_of_nothing_but_damaged_pictures(place: "torch.device") -> None:
    model = with_path(MeanColourEngine(), place)
    batch = prepared(model, [undecodable(), CUT])
    assert len(batch.rows) == 0
    assert [place for place, _ in batch.failures] == [0, 1]


def test_no_more_pixels_at_once_than_there_is_memory_for(
    place: "torch.device", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_path, "CHUNK_PIXELS", 64 * 48 * 2)
    model = with_path(MeanColourEngine(), place)
    assert model.device_path is not None
    decoded: list[int] = []
    decode = model.device_path._decode

    def counting(files: "list[torch.Tensor]", device: "torch.device") -> list["torch.Tensor"]:
        pixels = decode(files, device)
        decoded.append(sum(picture.shape[1] * picture.shape[2] for picture in pixels))
        return pixels

    monkeypatch.setattr(model.device_path, "_decode", counting)
    files = [jpeg(colour) for colour in (RED, GREEN, BLUE, RED, GREEN)] + [jpeg(BLUE, (200, 100))]
    batch = prepared(model, files)
    assert decoded == [64 * 48 * 2, 64 * 48 * 2, 64 * 48]
    found = colours(batch)
    for number, colour in enumerate((RED, GREEN, BLUE, RED, GREEN, BLUE)):
        assert near(found[number], colour)


def test_a_file_with_a_second_larger_frame_is_not_believed(place: "torch.device") -> None:
    data = jpeg(RED)
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    larger = bytearray(data[frame : frame + 19])
    struct.pack_into(">HH", larger, 5, 60_000, 60_000)
    model = with_path(MeanColourEngine(), place)
    batch = prepared(model, [data[:scan] + bytes(larger) + data[scan:], jpeg(BLUE)])
    assert near(colours(batch)[1], BLUE)


@contextmanager
def held_batch(engine: TensorColourEngine, gate: Gate, place: "torch.device") -> Iterator[Running]:
    with running_core(with_path(engine, place)) as core:
        yield core
        gate.open()


async def test_every_caller_gets_the_answer_to_its_own_picture(place: "torch.device") -> None:
    gate = Gate()
    engine = TensorColourEngine(gate)
    wanted = [RED, GREEN, BLUE, GREEN, RED, BLUE, BLUE]
    with held_batch(engine, gate, place) as core:
        first = asyncio.create_task(core.infer(ask(RED, image=jpeg(RED))))
        await until_async(lambda: gate.entered == 1)
        images = [jpeg(colour, (40 + number % 3, 30)) for number, colour in enumerate(wanted)]
        images[3] = solid(GREEN)
        images[5] = undecodable()
        tasks = [asyncio.create_task(core.infer(ask(RED, image=image))) for image in images]
        await until_async(lambda: core.batcher.waiting() == 7)
        tasks[6].cancel()
        await until_async(lambda: core.batcher.waiting() == 6)
        gate.open()
        results = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert isinstance(results[6], InvalidImage)
    assert isinstance(results[7], asyncio.CancelledError)
    for result, colour in zip(results[1:6], wanted, strict=False):
        assert near(seen_colour(result), colour)  # type: ignore[arg-type]
    assert engine.on_device == [1, 5]
    timings = results[1].timings  # type: ignore[union-attr]
    assert all(seconds >= 0 for seconds in (timings.queue, timings.prepare, timings.compute, timings.finish))
    assert timings.prepare > 0


async def test_a_failing_batch_is_split_on_the_device_too(place: "torch.device") -> None:
    gate = Gate()

    def before(batch: Array) -> None:
        gate(batch)
        if len(batch) > 1:
            raise RuntimeError("too many for me")

    engine = TensorColourEngine(before)
    with held_batch(engine, gate, place) as core:
        first = asyncio.create_task(core.infer(ask(RED, image=jpeg(RED))))
        await until_async(lambda: gate.entered == 1)
        tasks = [asyncio.create_task(core.infer(ask(RED, image=jpeg(colour)))) for colour in (GREEN, BLUE, RED)]
        await until_async(lambda: core.batcher.waiting() == 3)
        gate.open()
        results = await asyncio.gather(first, *tasks)
    for result, colour in zip(results, (RED, GREEN, BLUE, RED), strict=True):
        assert near(seen_colour(result), colour)
    assert engine.on_device == [1, 3, 1, 2, 1, 1]


async def test_who_is_too_late_is_told_so(place: "torch.device") -> None:
    engine = TensorColourEngine()
    with running(with_path(engine, place)) as service:
        with pytest.raises(DeadlineExceeded):
            await infer(service, ask(RED, image=jpeg(RED), seconds=1e-4))
        assert near(seen_colour(await infer(service, ask(RED, image=jpeg(BLUE)))), BLUE)


@pytest.mark.parametrize(
    ("words", "lost"),
    [("CUDA out of memory. Tried to allocate 2 GiB", False), ("CUDA error: misaligned address", True)],
)
async def test_where_the_device_fails_the_cpu_prepares(
    place: "torch.device", monkeypatch: pytest.MonkeyPatch, words: str, lost: bool
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(words)

    engine = TensorColourEngine()
    model = with_path(engine, place)
    assert model.device_path is not None
    monkeypatch.setattr(model.device_path, "_decode" if lost else "_prepare_on_device", fail)
    with running_core(model) as core:
        assert near(seen_colour(await core.infer(ask(RED, image=jpeg(RED)))), RED)
        assert (core.capacity.device_failure is not None) is lost
    assert (engine.batches, engine.on_device) == ([1], [])


def test_the_two_ways_agree_on_the_specimens(place: "torch.device") -> None:
    model = with_path(MeanColourEngine(), place)
    assert model.device_path is not None
    assert decode_placement.disagreement(model, model.device_path) <= decode_placement.TOLERANCE


def test_a_device_that_prepares_something_else_is_noticed(place: "torch.device") -> None:
    model = with_path(MeanColourEngine(), place)
    assert model.device_path is not None
    other = model.input_spec.model_copy(update={"channels": "bgr"})
    assert decode_placement.disagreement(model, DevicePath(other, place)) > decode_placement.TOLERANCE


def test_a_device_is_used_when_it_prepares_the_same(place: "torch.device", monkeypatch: pytest.MonkeyPatch) -> None:
    model = colour_model(MeanColourEngine())
    assert isinstance(decode_placement.checked(model, place), DevicePath)
    monkeypatch.setattr(decode_placement, "TOLERANCE", 0.0)
    assert "differ from the CPU's by 0." in str(decode_placement.checked(model, place))


@pytest.mark.parametrize("words", ["nvjpeg refuses", "CUDA error: unspecified launch failure"])
def test_a_device_whose_decoder_fails_is_not(
    place: "torch.device", monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    from app.vision import device_preprocessing

    def fail(*_: object) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(device_preprocessing, "decode", fail)
    model = colour_model(MeanColourEngine())
    if words.startswith("CUDA error"):
        with pytest.raises(DeviceUnavailable, match=r"The GPU was lost .*unspecified launch failure\. Set ROO_GPU"):
            decode_placement.checked(model, place)
    else:
        assert decode_placement.checked(model, place) == "trying it failed: the device's decoder refuses ordinary JPEGs"


def test_the_cpu_decodes_where_the_model_computes_there() -> None:
    model = colour_model(TensorColourEngine())
    decode_placement.choose(model, "auto", lanes=1)
    assert model.device_path is None
    assert model.decoding == Decoding("cpu", "the model computes on the CPU")
    with pytest.raises(DeviceUnavailable, match=r"ROO_GPU_DECODE=on demands .*the model computes on the CPU"):
        decode_placement.choose(model, "on", lanes=1)
    decode_placement.choose(model, "off", lanes=1)
    assert model.decoding == Decoding("cpu", "ROO_GPU_DECODE=off")


@pytest.mark.parametrize(
    ("engine", "gpus", "words"),
    [
        (TensorColourEngine(), 2, "several GPUs share the work"),
        (MeanColourEngine(), 1, "takes its batches from the host"),
    ],
)
def test_why_a_gpu_does_not_decode(engine: MeanColourEngine, gpus: int, words: str) -> None:
    single = colour_model(engine)
    device = devices.choose("cuda", None, gpus)
    model = Model("colour", "1", single.task, single.input_spec, [engine] * gpus, 4, device)
    decode_placement.choose(model, "auto", lanes=1)
    assert model.decoding.device == "cpu"
    assert words in model.decoding.reason


def test_a_pytorch_that_does_not_load_costs_only_the_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    need("torch")

    def broken(_: str) -> str | None:
        raise EngineUnavailable("The engine torch was asked for, but its library cannot be loaded: libcudart.")

    monkeypatch.setattr(catalog, "cuda_problem", broken)
    engine, single = TensorColourEngine(), colour_model(MeanColourEngine())
    model = Model("colour", "1", single.task, single.input_spec, [engine], 4, devices.choose("cuda", None))
    decode_placement.choose(model, "auto", lanes=1)
    assert model.decoding.device == "cpu"
    assert "cannot be loaded: libcudart" in model.decoding.reason


@pytest.mark.parametrize("slow", ["host", "device"])
def test_the_faster_way_is_taken_and_said(
    place: "torch.device", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, slow: str
) -> None:
    """One way fails for every batch, and so is the slower one; the other is really tried."""
    monkeypatch.setattr(decode_placement, "TRIAL_SECONDS", 0.01)

    def fail(*_: object) -> None:
        raise RuntimeError("not today")

    engine, single = TensorColourEngine(), colour_model(MeanColourEngine())
    gpu = devices.choose("cuda", None)
    model = Model("colour", "1", single.task, single.input_spec, [engine], 2, gpu)
    path = DevicePath(model.input_spec, place)
    monkeypatch.setattr(*(model, "compute") if slow == "host" else (model, "compute_on_device"), fail)
    with caplog.at_level(logging.WARNING):
        found = decode_placement.faster(model, path, lanes=2)
    if slow == "host":
        assert found.device == "cuda:0"
        assert found.reason.endswith("decoding on the GPU, 0 with decoding on 2 lanes' cores")
    else:
        assert found.device == "cpu"
        assert found.reason.startswith("0 pictures a second with decoding on the GPU, ")
    assert "trying where to decode failed: not today" in caplog.text
    assert (engine.on_device == []) is (slow == "device")
