"""Write NOTICE: whose packages the images hold, and under which licences.

    python .docker/notice.py > NOTICE       (`make notice`)

Names come from the images' locks; licences from what the installed packages say of themselves, and for those that are
not installed in development from the list below.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = tuple(f"requirements-{kind}.lock" for kind in ("cpu", "cuda", "cuda-slim", "openvino"))

NVIDIA = "LicenseRef-NVIDIA-Software-License"
ELSEWHERE = {
    "colorama": "BSD-3-Clause",
    "cuda-bindings": NVIDIA,
    "cuda-pathfinder": "Apache-2.0",
    "cuda-toolkit": NVIDIA,
    "filelock": "MIT",
    "fsspec": "BSD-3-Clause",
    "jinja2": "BSD-3-Clause",
    "markupsafe": "BSD-3-Clause",
    "mpmath": "BSD-3-Clause",
    "networkx": "BSD-3-Clause",
    "onnxruntime-gpu": "MIT",
    "openvino": "Apache-2.0",
    "openvino-telemetry": "Apache-2.0",
    "setuptools": "MIT",
    "sympy": "BSD-3-Clause",
    "torch": "BSD-3-Clause",
    "torchvision": "BSD-3-Clause",
    "triton": "MIT",
}
"""Of packages that development does without, as their projects say."""

SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "MIT License": "MIT",
}
"""What is said in words in place of an identifier."""

HEAD = """\
Roo Vision
Licensed under the Apache License, Version 2.0 (LICENSE).

The images hold the packages below, each under its own licence, whose text is in the package's folder,
/opt/venv/lib/python3*/site-packages/*.dist-info; those of libraries that a wheel brings along (OpenCV's codecs, for
example) are beside it. The CUDA image's packages of NVIDIA are under NVIDIA's terms. Python and Debian's packages come
with the base image and say theirs in /usr/share/doc/*/copyright. Made by `make notice`; a test keeps it in step.

"""


def licence(name: str) -> str:
    """The licence of a package as an SPDX expression. Raises `LookupError` where it is not known."""
    try:
        said = metadata(name)
    except PackageNotFoundError:
        if name in ELSEWHERE:
            return ELSEWHERE[name]
        if name.startswith("nvidia-"):
            return NVIDIA
        raise LookupError(f"{name} is not installed here: say its licence in .docker/notice.py") from None
    if expression := said.get("License-Expression"):
        return expression
    words = said.get("License") or ""
    classifiers = [line.split(" :: ")[-1] for line in said.get_all("Classifier") or [] if line.startswith("License ::")]
    for text in (words, *classifiers):
        known = SPDX.get(text, text)
        if re.fullmatch(r"[A-Za-z0-9.+-]+", known):
            return known
    raise LookupError(f"{name} says {words[:60]!r} of its licence: add that to SPDX in .docker/notice.py")


def packages() -> list[str]:
    """What the locks name."""
    names = (re.findall(r"^([a-z0-9][\w.-]*)==", (ROOT / lock).read_text(), re.MULTILINE) for lock in LOCKS)
    return sorted({name for found in names for name in found})


def notice() -> str:
    """The file's text."""
    names = packages()
    width = max(map(len, names)) + 2
    return HEAD + "".join(f"{name:<{width}}{licence(name)}\n" for name in names)


if __name__ == "__main__":
    sys.stdout.write(notice())
