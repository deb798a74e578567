"""The allocator keeps the buffers of pictures, and takes its settings."""

import ctypes
import resource
from pathlib import Path

import pytest

from app.host import allocator


def test_glibc_takes_every_setting() -> None:
    assert allocator.keep_buffers()


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not allocator.keep_buffers()


def test_what_was_freed_goes_back_to_the_kernel() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    blocks = [libc.malloc(100_000) for _ in range(1000)]  # below the threshold of what is mapped by itself
    for block in blocks:
        ctypes.memset(ctypes.c_void_p(block), 1, 100_000)
    held = libc.malloc(100_000)  # the heap does not shrink by itself below this one
    before = resident()
    for block in blocks:
        libc.free(ctypes.c_void_p(block))
    allocator.give_back()
    assert before - resident() > 80_000_000
    libc.free(ctypes.c_void_p(held))


def test_another_c_library_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    allocator.give_back()
