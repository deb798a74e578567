"""What the processor has for computing in eight bits, as the kernel says it."""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
_INSTRUCTIONS = {
    "amx_int8": "AMX",
    "avx512_vnni": "AVX512-VNNI",
    "avx_vnni": "AVX-VNNI",
    "asimddp": "the dot products of ARMv8.2",
}
"""By the kernel's names. Without one of them products of eight bits take longer, and on x86 their sums saturate: two
products of 255 and 127 do not fit into the sixteen bits of `vpmaddubsw`, so answers would be wrong, not only slow.
"""


def integer_instructions(cpuinfo: Path | None = None) -> str | None:
    """The instructions that multiply eight bits and sum up in thirty-two, by name; None where there are none, or where
    the kernel does not say.
    """
    try:
        lines = (cpuinfo or CPUINFO).read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    said = next((line for line in lines if line.split(":")[0].strip() in ("flags", "Features")), "")
    flags = said.partition(":")[2].split()
    return next((name for flag, name in _INSTRUCTIONS.items() if flag in flags), None)
