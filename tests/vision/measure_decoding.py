"""Decode pictures in each way and tell the most bytes that each took. usage: measure_decoding.py WIDTH HEIGHT

Each line of its input names a file; a line of JSON answers it. What one picture takes is done in children, so that it
leaves nothing behind for the next, and what has to be imported is imported once.

Resident memory does not show the copy of the file that is lent to the decoder, so that is added.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.request import Deadline
from app.host.allocator import keep_buffers
from app.vision import codec, image, preprocessing
from app.vision.barcodes import read_barcodes
from app.vision.classification import Classification
from app.vision.image import Picture, Size
from app.wire.rendering import DrawnType, Renderer

CAMERA = (0, 4095)
NOTHING = Classification(np.zeros(0, np.int64), np.zeros(0, np.float32), ())


def status(name: str) -> int:
    """A figure of this process from the kernel, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def in_child(work: Callable[[], object]) -> Any:
    """What it returns, through JSON, from a child, so that nothing is left over from it."""
    reading, writing = os.pipe()
    if not os.fork():
        with open(writing, "w") as answer:
            json.dump(work(), answer)
        os._exit(0)
    os.close(writing)
    with open(reading) as answer:
        text = answer.read()
    os.wait()
    return json.loads(text)


def peak(way: Callable[[], object], lent: int) -> int:
    """Most bytes taken at once."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is there now
    before = status("VmRSS")
    way()
    return status("VmHWM") - before + lent


def peaks(path: str, spec: preprocessing.InputSpec, row: NDArray[Any]) -> dict[str, int]:
    """Of each way that a picture is decoded in."""
    data = Path(path).read_bytes()
    header = image.read_header(data)

    def prepared(picture: Picture) -> None:
        preprocessing.prepare(picture, spec, row)

    def sought(picture: Picture) -> None:
        everything = np.array([0, 0, *picture.size], np.float32)
        corner = np.array([0, 0, 800, 800], np.float32)
        read_barcodes(picture, np.stack([everything, corner]))

    async def draw(media_type: DrawnType) -> None:
        await Renderer(1).draw(data, header, NOTHING, media_type, Deadline.after(600))

    lent = len(data) if codec.FILES_IN_MEMORY else 0
    ways: dict[str, Callable[[], object]] = {
        "whole": lambda: prepared(image.decode(data, header)),
        "whole, 12 bits": lambda: prepared(image.decode(data, header, levels=CAMERA)),
        "for a model": lambda: prepared(image.decode(data, header, spec.size)),
        "grey": lambda: sought(image.decode_grey(data, header)),
        "grey, 12 bits": lambda: sought(image.decode_grey(data, header, CAMERA)),
        "drawn as PNG": lambda: asyncio.run(draw("image/png")),
        "drawn as JPEG": lambda: asyncio.run(draw("image/jpeg")),
    }
    return {name: in_child(partial(peak, way, lent)) for name, way in ways.items()}


def main(width: int, height: int) -> None:
    """Answer each line of the input."""
    keep_buffers()
    spec = preprocessing.InputSpec(size=Size(width, height))
    row = np.zeros(spec.shape, spec.numpy_dtype)
    preprocessing.prepare(image.decode(image.specimen(), image.read_header(image.specimen())), spec, row)
    for path in iter(sys.stdin.readline, ""):
        sys.stdout.write(json.dumps(in_child(partial(peaks, path.rstrip("\n"), spec, row))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
