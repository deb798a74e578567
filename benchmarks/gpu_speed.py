"""Two figures that `gpu_check` needs beside rates: how busy the device is, and what the naive way gets out of it."""

import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from app.core.model import Model
from app.engines.devices import Device
from benchmarks import naive


def naive_rate(model: Model, files: list[str], seconds: float) -> float:
    """Pictures a second of what people write first: Pillow decodes, one picture at a time goes to the device."""
    contents = [Path(path).read_bytes() for path in files]
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        row, _ = naive.prepare(contents[len(times) % len(contents)], model.input_spec)
        model.compute(row[None])
        times.append(time.perf_counter() - began)
    return 1.0 / statistics.mean(times[1:] or times)


def busy(work: Callable[[], object], chosen: Device) -> float | None:
    """The share of the time in which a kernel or a copy ran on the device, by PyTorch's profiler."""
    if find_spec("torch") is None or chosen.kind == "cpu":
        return None
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        began = time.perf_counter()
        work()
        seconds = time.perf_counter() - began
    spans = sorted((event.time_range.start, event.time_range.end) for event in profiled.events() if event.device_time)
    return covered(spans) / 1e6 / seconds


def covered(spans: list[tuple[float, float]]) -> float:
    """The length of the union of intervals that are sorted by their start."""
    covered, reached = 0.0, float("-inf")
    for start, end in spans:
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered
