"""What an engine's exception means for what comes next: a smaller batch, a restart, or only this batch.

Engines raise their library's exceptions, whose classes say little; their texts come from CUDA and name its error codes
(https://docs.nvidia.com/cuda/cuda-runtime-api/, "Error handling").
"""

import re
from enum import Enum


class Failure(Enum):
    """`BATCH`: this batch's own. `MEMORY`: a smaller batch may fit. `DEVICE`: the GPU's context is lost for good."""

    BATCH = "batch"
    MEMORY = "memory"
    DEVICE = "device"


_MEMORY = re.compile(
    r"out of memory|CUDA failure 2:|failed to allocate memory|CUDNN_STATUS_ALLOC_FAILED|CUBLAS_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
_DEVICE = re.compile(
    r"illegal memory access|device-side assert|unspecified launch failure|misaligned address|illegal instruction"
    r"|invalid program counter|hardware stack error|launch timed out|uncorrectable ECC|no longer available"
    r"|CUDA failure (214|700|702|710|714|715|716|717|718|719):",
    re.IGNORECASE,
)
"""Errors after which CUDA answers every call of the process with the same error."""


def classify(error: BaseException) -> Failure:
    """What `error`, raised by an engine's `run`, means; its causes are looked at too."""
    seen: BaseException | None = error
    while seen is not None:
        text = str(seen)
        if _DEVICE.search(text):
            return Failure.DEVICE
        if isinstance(seen, MemoryError) or _MEMORY.search(text):
            return Failure.MEMORY
        seen = seen.__cause__
    return Failure.BATCH
