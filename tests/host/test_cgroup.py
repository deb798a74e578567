"""The limits of a container, read from trees of files as kernels show them."""

from pathlib import Path

import pytest

from app import main, settings
from app.host import cgroup, process

PAGES = 9223372036854771712
"""What version 1 says where nothing is limited."""


def tree(root: Path, files: dict[str, object]) -> Path:
    """A file system root with these files in it."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


V2 = "0::/"
V1 = "12:memory:/docker/4f\n4:cpu,cpuacct:/docker/4f\n1:name=systemd:/docker/4f\n0::/system.slice/docker.service"

CASES = {
    "no cgroup at all": ({}, None, None),
    "version 2, in a container": (
        {"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "150000 100000", "sys/fs/cgroup/memory.max": 2**30},
        1.5,
        2**30,
    ),
    "version 2, without limits": (
        {"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "max 100000", "sys/fs/cgroup/memory.max": "max"},
        None,
        None,
    ),
    "version 2, a service of a host whose slice has less": (
        {
            "proc/self/cgroup": "0::/small.slice/roo.service",
            "sys/fs/cgroup/small.slice/cpu.max": "200000 100000",
            "sys/fs/cgroup/small.slice/memory.max": "max",
            "sys/fs/cgroup/small.slice/roo.service/cpu.max": "400000 100000",
            "sys/fs/cgroup/small.slice/roo.service/memory.max": 2**29,
        },
        2.0,
        2**29,
    ),
    "version 2, known to the host by a path that the container does not see": (
        {"proc/self/cgroup": "0::/../4f", "sys/fs/cgroup/cpu.max": "300000 100000"},
        3.0,
        None,
    ),
    "version 1, in a container": (
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": 250000,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": 100000,
            "sys/fs/cgroup/memory/memory.limit_in_bytes": 2**28,
        },
        2.5,
        2**28,
    ),
    "version 1, mounted under the controller's own name": (
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": 50000,
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100000,
        },
        0.5,
        None,
    ),
    "version 1, on the host, by its path": (
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": -1,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": 100000,
            "sys/fs/cgroup/cpu,cpuacct/docker/4f/cpu.cfs_quota_us": 100000,
            "sys/fs/cgroup/cpu,cpuacct/docker/4f/cpu.cfs_period_us": 100000,
            "sys/fs/cgroup/memory/memory.limit_in_bytes": PAGES,
            "sys/fs/cgroup/memory/docker/4f/memory.limit_in_bytes": 2**31,
        },
        1.0,
        2**31,
    ),
    "version 1, without limits": (
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": -1,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": 100000,
            "sys/fs/cgroup/memory/memory.limit_in_bytes": PAGES,
        },
        None,
        None,
    ),
    "files that say nothing": (
        {
            "proc/self/cgroup": V2,
            "sys/fs/cgroup/cpu.max": "",
            "sys/fs/cgroup/memory.max": "",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": 100000,
        },
        None,
        None,
    ),
}


@pytest.mark.parametrize(("files", "cores", "memory"), CASES.values(), ids=CASES)
def test_limits_are_read(tmp_path: Path, files: dict[str, object], cores: float | None, memory: int | None) -> None:
    root = tree(tmp_path, files)
    assert cgroup.cpu_quota(root) == cores
    assert cgroup.memory_limit(root) == memory


@pytest.mark.parametrize(("quota", "lanes"), [(None, 8), (0.5, 1), (1.5, 1), (2.0, 2), (64.0, 8)])
def test_a_lane_is_a_whole_core(monkeypatch: pytest.MonkeyPatch, quota: float | None, lanes: int) -> None:
    monkeypatch.setattr(cgroup, "cpu_quota", lambda: quota)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert process.usable_cores() == lanes


@pytest.mark.parametrize(("limit", "warned"), [(None, False), (2**30, False), (2**28, True)])
def test_a_container_that_is_too_small_for_its_settings_is_told_so(
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    limit: int | None,
    warned: bool,
) -> None:
    monkeypatch.setattr(cgroup, "memory_limit", lambda: limit)
    as_in_the_image = settings.Settings(
        models_dir=repository, device="cpu", lanes=2, max_inflight_bytes=128 * settings.MIB
    )
    main.build(as_in_the_image)
    assert ("the container has 256 MiB" in caplog.text) is warned
