"""`make bench-ocr`: text read by the service's chain of PP-OCR's models, and by rapidocr itself, in alternating slices.

Both have the same graphs, pictures and engine (ONNX Runtime on the CPU): rapidocr with its defaults, one picture after
the other on all cores, and as many of it as there are cores, each on one.
"""

import asyncio
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import cv2
import httpx
import typer
from rapidocr import RapidOCR
from rich.console import Console

from app.bench import machine
from app.bench.contenders import READY_PATH
from app.bench.measurements import spread
from app.bench.processes import Child, sigterm_as_exit
from app.commands import add_ocr
from app.host.process import environment_with, usable_cores
from benchmarks.callers import press
from benchmarks.command_line import Out, start
from tests.parity.text_pictures import page

SERVICE, DEFAULTS, PARALLEL = "the service's chain", "rapidocr", "rapidocr, one for each core"
WANTED = 1.3
"""The ratio that the chain should have at least to rapidocr as it is."""
CHAIN, PAGES = "text", 16
_HOST = "127.0.0.1"
_WARM_SECONDS = 2.0

console = Console(stderr=True)


async def ask(client: httpx.AsyncClient, picture: bytes) -> None:
    """Have one page read; raises `ValueError` where the answer has no text."""
    response = await client.post(f"/v1/models/{CHAIN}/predict", content=picture)
    response.raise_for_status()
    if not response.json()["lines"]:
        raise ValueError("a page was answered without a line")


def repeat(engines: list[RapidOCR], pictures: list[bytes], seconds: float) -> float:
    """Pictures a second that these read, each in a thread of its own; raises `ValueError` as `ask` does."""
    begins = time.perf_counter() + _WARM_SECONDS

    def read(place: int) -> int:
        answered, number = 0, place
        while time.perf_counter() < begins + seconds:
            if not engines[place](pictures[number % len(pictures)]).txts:
                raise ValueError("a page was answered without a line")
            number += 1
            answered += begins <= time.perf_counter()
        return answered

    with ThreadPoolExecutor(len(engines)) as threads:
        answered = sum(threads.map(read, range(len(engines))))
    return answered / (time.perf_counter() - begins)


def engines_of(count: int, threads: int) -> list[RapidOCR]:
    """So many of it, each computing on so many threads (-1: its default)."""
    params = {"EngineConfig.onnxruntime.intra_op_num_threads": threads, "Global.log_level": "error"}
    return [RapidOCR(params=params) for _ in range(count)]


def table(found: dict[str, list[float]]) -> list[str]:
    """What was found, in words; ratios are taken within each round."""
    lines = ["| way | pages/s | the chain to it | wanted |", "| --- | --- | --- | --- |"]
    for way, rates in found.items():
        ratio = spread(one / other for one, other in zip(found[SERVICE], rates, strict=True))
        told = spread(rates)
        wanted = f"{WANTED:g}" if way == DEFAULTS else ""
        lines.append(
            f"| {way} | {told.median:.2f} ({told.low:.2f}-{told.high:.2f}) "
            f"| {ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f}) | {wanted} |"
        )
    return lines


def measure(
    seconds: Annotated[float, typer.Option(min=0.05, help="Length of a slice.")] = 15.0,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 4,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Pictures in flight.")] = 8,
    out: Out = Path("out/bench"),
) -> None:
    """Measure how fast pages are read by the service and by rapidocr, whose models both have."""
    files = (cv2.imencode(".jpg", page(seed)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1] for seed in range(PAGES))
    pictures = [file.tobytes() for file in files]
    with sigterm_as_exit(), tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "models"
        add_ocr.run(None, root, CHAIN)
        environment = environment_with(ROO_LOG_LEVEL="warning", ROO_DEVICE="cpu", ROO_ENGINE="onnx")
        options = ["--host", _HOST, "--port", "0", "--models-dir", str(root)]
        with Child("service", ["app", "serve", *options], Path(folder), environment=environment) as child:
            port, _ = child.wait_until_ready(READY_PATH)
            url = f"http://{_HOST}:{port}"
            rapid = {DEFAULTS: engines_of(1, -1), PARALLEL: engines_of(usable_cores(), 1)}
            ways = [SERVICE, *rapid]
            found: dict[str, list[float]] = {way: [] for way in ways}
            for number in range(rounds):
                for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                    console.print(f"round {number + 1} of {rounds}: {way} ...")
                    if way == SERVICE:
                        rate = asyncio.run(press(url, ask, pictures, concurrency, _WARM_SECONDS, seconds))
                    else:
                        rate = repeat(rapid[way], pictures, seconds)
                    found[way].append(rate)
    out.mkdir(parents=True, exist_ok=True)
    content = {"machine": asdict(machine.describe()), "concurrency": concurrency, "pages_per_second": found}
    (out / "ocr.json").write_text(json.dumps(content, indent=1) + "\n")
    Console().print("\n".join(table(found)), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    start(measure)
