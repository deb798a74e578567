"""What the process uses, and what GPUs say of themselves."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from app.telemetry import gpu, metrics, process
from tests.fixtures.waiting import until_async


def test_cpu_time_and_memory_are_read_from_the_system() -> None:
    before = process.cpu_seconds()
    sum(range(2_000_000))
    assert process.cpu_seconds() > before
    assert 10 * 2**20 < process.memory_used() < 2**40


def late_by(least: float) -> int:
    """How many timers came later than that, which must be a bucket's bound."""
    bounds = metrics.event_loop_lag.buckets
    return sum(sum(point.counts[bounds.index(least) + 1 :]) for point in metrics.event_loop_lag.read())


async def test_an_event_loop_that_is_held_up_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_TICK_SECONDS", 0.01)
    least = next(bound for bound in metrics.event_loop_lag.buckets if bound >= 0.1)
    before = late_by(least)
    watching = asyncio.create_task(process.watch_event_loop())
    await asyncio.sleep(0)  # its timer is set now
    threading.Event().wait(least + 0.1)  # and comes no earlier than this, for nothing else runs in the loop
    await until_async(lambda: late_by(least) > before)
    watching.cancel()


class TwoGpus:
    """NVML as far as it is asked here, with the real module's errors; the second GPU does not tell its power."""

    NVMLError = pynvml.NVMLError
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU

    def nvmlInit(self) -> None:
        """Nothing to do."""

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUtilizationRates(self, gpu: int) -> Any:
        return SimpleNamespace(gpu=40 + gpu)

    def nvmlDeviceGetMemoryInfo(self, gpu: int) -> Any:
        return SimpleNamespace(used=10 + gpu, total=100)

    def nvmlDeviceGetTemperature(self, gpu: int, sensor: int) -> int:
        return 50 + sensor + gpu

    def nvmlDeviceGetPowerUsage(self, gpu: int) -> int:
        if gpu == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return 70_500


def test_gpus_tell_what_they_know(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = ("gpu_utilization", "gpu_memory_used", "gpu_memory_total", "gpu_temperature", "gpu_power")
    for name in watched:
        monkeypatch.setattr(getattr(metrics, name), "_read", None)
    assert gpu.observe(TwoGpus()) == 2
    found = {name: {point.labels: point.value for point in getattr(metrics, name).read()} for name in watched}
    assert found["gpu_utilization"] == {("0",): 0.4, ("1",): 0.41}
    assert found["gpu_memory_used"] == {("0",): 10, ("1",): 11}
    assert found["gpu_memory_total"] == {("0",): 100, ("1",): 100}
    assert found["gpu_temperature"] == {("0",): 50, ("1",): 51}
    assert found["gpu_power"] == {("0",): 70.5}


def test_without_a_driver_there_are_no_gpus() -> None:
    class NoDriver(TwoGpus):
        def nvmlInit(self) -> None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    assert gpu.observe(NoDriver()) == 0
