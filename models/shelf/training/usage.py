"""How much of the machine training takes, by the names that MLflow draws."""

import os
import resource
import sys
import time

import torch

_MEBI = 2**20
_state = [time.monotonic(), 0.0]


def usage() -> dict[str, float]:
    """The share of this machine's cores since the last call in percent, and memory in MiB: the process's, the GPU's."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    now, cpu = time.monotonic(), used.ru_utime + used.ru_stime
    share = 100 * (cpu - _state[1]) / max(now - _state[0], 1e-9) / (os.cpu_count() or 1)
    _state[:] = [now, cpu]
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    found = {
        "system/cpu_utilization_percentage": round(share, 1),
        "system/process_memory_usage_megabytes": round(peak / _MEBI, 1),
    }
    if torch.cuda.is_available():
        found["system/gpu_0_memory_usage_megabytes"] = round(torch.cuda.max_memory_allocated() / _MEBI, 1)
    return found
