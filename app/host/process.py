"""This process: the cores that it may use, and what its environment tells children and libraries."""

import os

from app.host import cgroup


def environment_with(**variables: str) -> dict[str, str]:
    """This process's environment for a child, with some variables changed; of the gRPC port there is only one."""
    own = {name: value for name, value in os.environ.items() if name != "ROO_GRPC_PORT"}
    return own | variables


def usable_cores() -> int:
    """CPU cores this process may use: its affinity, bounded by the cgroup's CPU quota (at least one)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup.cpu_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def forbid_unpickling() -> None:
    """Have PyTorch load data only, never objects: its loader of exported programs falls back to unpickling."""
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"


def silence_engine_telemetry() -> None:
    """Switch off ONNX Runtime's usage reports, which are on by default; must run before it is imported."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
