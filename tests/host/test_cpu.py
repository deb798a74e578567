"""What the kernel says of the processor's eight-bit instructions."""

from pathlib import Path

import pytest

from app.host.cpu import integer_instructions


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 avx512f avx512_vnni\n", "AVX512-VNNI"),
        ("flags : fpu avx2 avx_vnni\n", "AVX-VNNI"),
        ("flags : avx512_vnni amx_int8\n", "AMX"),
        ("Features\t: fp asimd asimddp\n", "the dot products of ARMv8.2"),
        ("flags : fpu sse4_2 avx2 fma\n", None),
        ("bugs : avx512_vnni\n", None),
        ("", None),
    ],
)
def test_instructions_by_the_kernels_flags(tmp_path: Path, text: str, named: str | None) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert integer_instructions(path) == named


def test_where_the_kernel_says_nothing_there_are_none(tmp_path: Path) -> None:
    assert integer_instructions(tmp_path / "missing") is None
