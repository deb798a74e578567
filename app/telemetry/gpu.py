"""GPUs, through NVIDIA's management library: the extra `cuda` brings `nvidia-ml-py`, and a driver the library."""

import contextlib
import importlib
import logging
from collections.abc import Callable
from typing import Any

from app.telemetry import metrics
from app.telemetry.instruments import Observed, Reading

log = logging.getLogger(__name__)

_PERCENT, _MILLIWATTS = 100.0, 1000.0


def observe(nvml: Any = None) -> int:
    """Read every GPU that NVML finds from now on; returns how many. `nvml` is the module, `pynvml` where left out."""
    nvml = nvml or _import()
    if nvml is None:
        return 0
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError as error:
        log.debug("no GPU to be watched: %s", error)
        return 0
    for instrument, read in _readings(nvml).items():
        _watch(instrument, handles, read, nvml.NVMLError)
    return len(handles)


def _import() -> Any:
    with contextlib.suppress(ImportError):
        return importlib.import_module("pynvml")
    return None


def _readings(nvml: Any) -> dict[Observed, Callable[[Any], float]]:
    return {
        metrics.gpu_utilization: lambda gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / _PERCENT,
        metrics.gpu_memory_used: lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
        metrics.gpu_memory_total: lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total,
        metrics.gpu_temperature: lambda gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
        metrics.gpu_power: lambda gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / _MILLIWATTS,
    }


def _watch(instrument: Observed, handles: list[Any], read: Callable[[Any], float], error: type[Exception]) -> None:
    def values() -> Reading:
        found = []
        for index, handle in enumerate(handles):
            with contextlib.suppress(error):  # a slice of a GPU, or a virtual one, does not tell everything
                found.append((float(read(handle)), (str(index),)))
        return found

    instrument.observe(values)
