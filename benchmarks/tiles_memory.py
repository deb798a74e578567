"""What a picture of 50 million pixels takes of memory as it is and in tiles, beside the bound of the untiled request.

    python -m benchmarks.tiles_memory

Each kind of file is asked about in a process of its own, which holds the whole core. What is measured is how far its
resident memory rose (`VmHWM`) above what it was after small pictures had been answered. The bound is what the service
reckons with for the request as it is (`Model.working_bytes`); in tiles the peak may be 1.2 times that. Memory, unlike
time, is not disturbed by neighbours.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import typer

from app.assembly import Core, build
from app.core.request import InferenceRequest, Priority
from app.settings import load_settings
from app.vision import image
from app.vision.tasks import Options
from app.vision.tiling import Tiles

WIDTH, HEIGHT = 10_000, 5_000
KINDS: dict[str, tuple[str, list[int]]] = {
    "JPEG": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 90]),
    "progressive JPEG": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    "PNG": (".png", [cv2.IMWRITE_PNG_COMPRESSION, 1]),
}
TILES = Tiles(size=640, overlap=0.2)
MOST = 1.2
ROUNDS = 3
_MIB = 2**20


def main() -> int:
    """Print a table; 0 where every kind keeps within 1.2 times the bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--tiled", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.kind is not None:
        typer.echo(json.dumps(asyncio.run(_measure(given.kind, TILES if given.tiled else None))))
        return 0
    typer.echo(f"{WIDTH} x {HEIGHT} pixels, tiles of {TILES.size} with an overlap of {TILES.overlap:g}\n")
    typer.echo("| file | bound as it is | peak as it is | peak in tiles | of the bound |")
    typer.echo("| --- | --- | --- | --- | --- |")
    kept = True
    for kind in KINDS:
        whole, tiled = _in_a_process(kind), _in_a_process(kind, "--tiled")
        share = tiled["peak"] / whole["bound"]
        kept &= share <= MOST
        cells = (f"{number / _MIB:.0f} MiB" for number in (whole["bound"], whole["peak"], tiled["peak"]))
        typer.echo(f"| {kind} | {' | '.join(cells)} | {share:.2f} |")
    return 0 if kept else 1


def _in_a_process(kind: str, *more: str) -> dict[str, int]:
    command = [sys.executable, "-m", "benchmarks.tiles_memory", "--kind", kind, *more]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(told.stdout)
    return found


async def _measure(kind: str, tiles: Tiles | None) -> dict[str, int]:
    """Bytes: the bound of the request as it is, and the peak above what small pictures take."""
    core = build(load_settings(calibrate=False, max_image_bytes=2**28, max_inflight_bytes=2**29))
    await asyncio.to_thread(core.load)
    try:
        for _ in range(ROUNDS):
            await _ask(core, image.specimen(), None)
        content = _picture(kind)
        before = _reset_peak()
        for _ in range(ROUNDS):
            await _ask(core, content, tiles)
        header = image.read_header(content)
        with core.service.registry.lease() as model:
            bound = model.working_bytes(header, len(content))
        return {"bound": bound, "peak": _status("VmHWM") - before}
    finally:
        core.executor.stop(timeout=20.0)


async def _ask(core: Core, content: bytes, tiles: Tiles | None) -> None:
    request = InferenceRequest(content, "memory", options=Options(tiles=tiles, read_barcodes=True))
    with core.service.admission.permit(Priority.INTERACTIVE) as permit:
        result = await core.service.infer(request, permit)
    assert (result.tiles is not None) == (tiles is not None)


def _picture(kind: str) -> bytes:
    """Coloured clouds, encoded; nothing of it is left in memory but the file."""
    name, options = KINDS[kind]
    clouds = np.random.default_rng(0).integers(0, 256, (HEIGHT // 10, WIDTH // 10, 3), np.uint8)
    _, encoded = cv2.imencode(name, cv2.resize(clouds, (WIDTH, HEIGHT)), options)
    return encoded.tobytes()


def _reset_peak() -> int:
    """Have the kernel forget the peak; returns what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


if __name__ == "__main__":
    sys.exit(main())
