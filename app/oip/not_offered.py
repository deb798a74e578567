"""What Triton's clients can ask beyond the protocol, and why it is not done here, for both fronts."""

import re

_SHARED_MEMORY = (
    "Shared memory is not supported: callers are on other machines, and nothing of theirs is mapped. Send tensors in "
    "the request, as binary data."
)
_TRACES = "Trace settings are not supported: OTEL_TRACES_SAMPLER and its like say at the start what is traced."
_LOGGING = "Log settings are not supported: ROO_LOG_LEVEL sets the level at the start, SIGUSR1 while it runs."
_GENERATE = "generate is not supported: it is for models that make text. Ask with infer."

METHODS = {
    "SystemSharedMemoryStatus": _SHARED_MEMORY,
    "SystemSharedMemoryRegister": _SHARED_MEMORY,
    "SystemSharedMemoryUnregister": _SHARED_MEMORY,
    "CudaSharedMemoryStatus": _SHARED_MEMORY,
    "CudaSharedMemoryRegister": _SHARED_MEMORY,
    "CudaSharedMemoryUnregister": _SHARED_MEMORY,
    "TraceSetting": _TRACES,
    "LogSettings": _LOGGING,
}
"""Calls of Triton's `GRPCInferenceService`."""
_PATHS = (
    (re.compile(r"/v2/(system|cuda)sharedmemory(/.*)?"), _SHARED_MEMORY),
    (re.compile(r"/v2/(models/[^/]+(/versions/[^/]+)?/)?trace/setting"), _TRACES),
    (re.compile(r"/v2/logging"), _LOGGING),
    (re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?/generate(_stream)?"), _GENERATE),
)


def why_not(path: str) -> str | None:
    """Why there is nothing at a path that Triton has; None for every other."""
    return next((words for pattern, words in _PATHS if pattern.fullmatch(path)), None)
