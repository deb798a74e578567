"""Where a model's pictures are decoded and prepared: on the host's cores, or on the GPU that computes them.

Which is faster depends on the GPU (only some have a decoder of their own; without, it costs the network's time), on the
number of cores, and on the model. So both ways are tried at load, from bytes to outputs, in as many lanes as there will
be.
"""

import importlib.util
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NoReturn

import numpy as np

from app.core.device_path import DevicePath
from app.core.model import Decoding, Model
from app.core.request import AdmittedRequest, InferenceRequest, PictureItem
from app.engines import catalog
from app.engines.base import Array, TensorEngine
from app.engines.failures import Failure, classify
from app.engines.library_errors import first_line
from app.errors import DeviceUnavailable, EngineUnavailable
from app.vision import image, preprocessing

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

GpuDecode = Literal["auto", "on", "off"]

TRIAL_SECONDS = 0.6
"""How long each way is tried."""
TOLERANCE = 2.0
"""Most levels of 255 by which the device's pixels may differ from the CPU's on average."""


def choose(model: Model, asked: GpuDecode, lanes: int) -> None:
    """Settle where the pictures of a warmed model are decoded, as the setting `ROO_GPU_DECODE` asks.

    Raises `DeviceUnavailable` where the GPU was demanded and cannot be used for it.
    """
    if not model.takes_pictures:
        return model.decode_with(None, Decoding("cpu", "it takes no pictures"))
    if asked == "off":
        return model.decode_with(None, Decoding("cpu", "ROO_GPU_DECODE=off"))
    path = _path(model)
    if isinstance(path, DevicePath):
        found = faster(model, path, lanes) if asked == "auto" else Decoding(model.device.name, "ROO_GPU_DECODE=on")
        model.decode_with(path if found.device != "cpu" else None, found)
    elif asked == "on":
        raise DeviceUnavailable(
            f"ROO_GPU_DECODE=on demands that pictures are decoded on the GPU, but {path} (model {model.name}). "
            "Mend that, or set ROO_GPU_DECODE=auto."
        )
    else:
        model.decode_with(None, Decoding("cpu", path))
    if model.device.kind == "cuda":
        log.info("%s: pictures are decoded on %s: %s", model.name, model.decoding.device, model.decoding.reason)


def _path(model: Model) -> DevicePath | str:
    """The way over the model's GPU, or why there is none."""
    problem = _problem(model)
    if problem is not None:
        return problem
    import torch

    return checked(model, torch.device("cuda", model.device.index))


def checked(model: Model, device: "torch.device") -> DevicePath | str:
    """The way over this device, where it prepares what the CPU prepares, or why it is not used.

    Raises `DeviceUnavailable` where trying it cost the process the device.
    """
    try:
        path = DevicePath(model.input_spec, device)
        difference = disagreement(model, path)
    except Exception as error:  # libraries for devices raise many unrelated types, nearly all meaning: not here
        if classify(error) is Failure.DEVICE:
            raise DeviceUnavailable(
                f"The GPU was lost while decoding on it was tried: {first_line(error)}. Set ROO_GPU_DECODE=off."
            ) from error
        return f"trying it failed: {first_line(error)}"
    if not difference <= TOLERANCE:
        return f"the pixels that it prepares differ from the CPU's by {difference:.1f} levels on average"
    return path


def _problem(model: Model) -> str | None:
    if model.device.kind != "cuda":
        return "the model computes on the CPU"
    if model.device.count > 1:
        return "several GPUs share the work, and torchvision's decoder serves one"
    if not isinstance(model.engine, TensorEngine):
        return f"the engine {model.engine.name} takes its batches from the host"
    if (problem := preprocessing.device_problem(model.input_spec)) is not None:
        return problem
    missing = [name for name in ("torch", "torchvision") if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} not installed (pip install 'roo-vision[torch]')"
    try:
        return catalog.cuda_problem("torch")
    except EngineUnavailable as error:  # it is installed, and does not load: for `torch` a mistake, for this no need
        return str(error)


def disagreement(model: Model, path: DevicePath) -> float:
    """By how many levels of 255 the two ways' rows differ for the specimens: the mean of the worst picture.

    Raises `RuntimeError` where the device decoded none of them itself.
    """
    pictures = _specimens()
    row_on_host = np.zeros(model.input_spec.shape, model.input_spec.numpy_dtype)
    prepared = path.prepare(pictures, row_on_host[None], _refuse)
    if len(prepared.placed) < len(pictures):
        raise RuntimeError("the device's decoder refuses ordinary JPEGs")
    level = 1 / model.input_spec.factors
    channels = (-1, 1, 1) if model.input_spec.layout == "nchw" else (1, 1, -1)
    worst = 0.0
    for row, (place, placement) in zip(prepared.rows.cpu().numpy(), prepared.placed, strict=True):
        if model.prepare_row(pictures[place], row_on_host) != placement:
            raise RuntimeError("the device places pictures elsewhere")
        levels = np.abs(row.astype(np.float64) - row_on_host.astype(np.float64)) * level.reshape(channels)
        worst = max(worst, float(levels.mean()))
    return worst


def _refuse(picture: PictureItem, out: Array) -> NoReturn:
    raise RuntimeError("the device's decoder refuses ordinary JPEGs")


def faster(model: Model, path: DevicePath, lanes: int) -> Decoding:
    """Try both ways in so many lanes; the device where it is faster. A way that fails is the slower one."""
    specimens = _specimens()
    pictures = [specimens[place % len(specimens)] for place in range(model.max_batch_size)]
    host = _rate(model, lanes, lambda buffer, lane: _on_host(model, pictures, buffer, lane)) * len(pictures)
    device = _rate(model, lanes, lambda buffer, lane: _on_device(model, path, pictures, buffer, lane)) * len(pictures)
    where = model.device.name if device > host else "cpu"
    words = f"{device:.0f} pictures a second with decoding on the GPU, {host:.0f} with decoding on {lanes} lanes' cores"
    return Decoding(where, words)


Way = Callable[[Array, int], None]
"""Computes a batch with a lane's buffer, as that lane."""


def _on_host(model: Model, pictures: list[AdmittedRequest], buffer: Array, lane: int) -> None:
    for row, picture in enumerate(pictures):
        model.prepare_row(picture, buffer[row])
    model.compute(buffer[: len(pictures)], lane)


def _on_device(model: Model, path: DevicePath, pictures: list[AdmittedRequest], buffer: Array, lane: int) -> None:
    model.compute_on_device(path.prepare(pictures, buffer, model.prepare_row).rows, lane)


def _rate(model: Model, lanes: int, way: Way) -> float:
    """Batches a second in so many threads; 0 where one of them fails."""
    rates = [0.0] * lanes

    def work(lane: int) -> None:
        buffer = model.empty_batch()
        try:
            way(buffer, lane)  # the first time takes longer
            began, elapsed, batches = time.perf_counter(), 0.0, 0
            while elapsed < TRIAL_SECONDS:
                way(buffer, lane)
                batches += 1
                elapsed = time.perf_counter() - began
            rates[lane] = batches / elapsed
        except Exception as error:  # a way that fails is not taken; whatever it was, the other way is there
            log.warning("%s: trying where to decode failed: %s", model.name, first_line(error))
        finally:
            model.give_back(buffer)

    threads = [threading.Thread(target=work, args=(lane,), daemon=True) for lane in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates) if all(rates) else 0.0


def _specimens() -> list[AdmittedRequest]:
    return [
        AdmittedRequest(InferenceRequest(data, request_id="trial"), image.read_header(data))
        for data in image.textured_specimens()
    ]
