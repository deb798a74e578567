"""What a container may use: the limits of this process's control group, as versions 1 and 2 say them.

Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max, memory.max),
https://docs.kernel.org/scheduler/sched-bwc.html (cpu.cfs_quota_us), and cgroups(7) for /proc/self/cgroup.
"""

from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")
_NO_LIMIT = 2**60
"""Version 1 says "no limit" with the largest number of pages that there can be."""


def cpu_quota(root: Path = _ROOT) -> float | None:
    """CPU cores' worth of time that this process's group, and those it lies in, may use; None without a limit."""
    quotas = []
    for folder in _folders(root, "cpu"):
        for quota, period in (_numbers(folder, "cpu.max"), _numbers(folder, "cpu.cfs_quota_us", "cpu.cfs_period_us")):
            if quota is not None and period and quota > 0:
                quotas.append(quota / period)
    return min(quotas, default=None)


def memory_limit(root: Path = _ROOT) -> int | None:
    """Bytes of memory that this process's group, and those it lies in, may use; None without a limit."""
    limits = []
    for folder in _folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit, _ = _numbers(folder, name)
            if limit is not None and limit < _NO_LIMIT:
                limits.append(limit)
    return min(limits, default=None)


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """Where the limits of the group are said, and those of the groups above it.

    A container sees its own group as the mount's root, whatever path the host knows it by; then only that is there.
    """
    mount = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        group = mount / controllers / path.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if mount in (folder, *folder.parents))
    yield from (mount, mount / controller)


def _numbers(folder: Path, *names: str) -> tuple[int | None, int | None]:
    """The first two numbers in these files; None where there is none."""
    words: list[str] = []
    for name in names:
        try:
            words += (folder / name).read_text().split()
        except OSError:
            return None, None
    first, second = [*words, "", ""][:2]
    return (int(first) if first.lstrip("-").isdigit() else None), (int(second) if second.isdigit() else None)
