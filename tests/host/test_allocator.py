"""The allocator keeps the buffers of pictures, and takes its settings."""

import ctypes

import pytest

from app.host import allocator


def test_glibc_takes_every_setting() -> None:
    assert allocator.keep_buffers()


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not allocator.keep_buffers()
