"""`make bench-chains`: a chain of two models beside what a user would write, in alternating slices of one run.

The bundled detector finds a shelf's things, and a MobileNetV3 (random weights) is asked about the best 20 of each
picture: as a chain of the service; in a loop without a server, in batches of all 20; and by a client that asks the same
service for the boxes, cuts the crops out itself and asks about each over HTTP. Each with many pictures in flight, and
with one after the other.
"""

import asyncio
import io
import json
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from PIL import Image
from rich.console import Console

from app.bench import machine
from app.bench.contenders import READY_PATH
from app.bench.measurements import Spread, spread
from app.bench.processes import Child, sigterm_as_exit
from app.host.process import environment_with
from app.settings import load_settings
from benchmarks import chain_loop
from benchmarks.callers import press
from benchmarks.chain_loop import CLASSIFIER, CROPS, DETECTOR
from benchmarks.command_line import ModelsDir, Out, start

CHAIN, LOOP, ONE_BY_ONE = "chain", "plain loop", "crop by crop over HTTP"
WANTED = {LOOP: 0.9, ONE_BY_ONE: 2.0}
"""The ratio that the chain should have at least to each."""
Rates = tuple[float, ...]
"""Pictures a second with many in flight, and with one."""
_HOST = "127.0.0.1"
_WARM_SECONDS = 1.0

console = Console(stderr=True)


def repository(root: Path, models_dir: Path) -> None:
    """The bundled detector, a MobileNetV3 of torchvision's with random weights, and a chain of both."""
    shutil.copytree(models_dir / DETECTOR, root / DETECTOR)
    chain_loop.write_classifier(root / CLASSIFIER)
    steps = {
        "find": {"model": DETECTOR, "options": {"read_barcodes": False}},
        "kind": {"model": CLASSIFIER, "on": "find", "max_crops": CROPS},
    }
    (root / CHAIN).mkdir()
    (root / CHAIN / "pipeline.yaml").write_text(json.dumps({"steps": steps}))


async def _ask(client: httpx.AsyncClient, model: str, picture: bytes, **options: Any) -> dict[str, Any]:
    response = await client.post(f"/v1/models/{model}/predict", content=picture, params=options)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


async def _ask_chain(client: httpx.AsyncClient, picture: bytes) -> None:
    answer = await _ask(client, CHAIN, picture)
    assert answer["chain"][1]["crops"]["asked"] == CROPS


async def _ask_one_by_one(client: httpx.AsyncClient, picture: bytes) -> None:
    found = await _ask(client, DETECTOR, picture, read_barcodes=False)
    for crop in await asyncio.to_thread(_cut, picture, found["detections"][:CROPS]):
        await _ask(client, CLASSIFIER, crop)


def _cut(picture: bytes, detections: list[dict[str, Any]]) -> list[bytes]:
    with Image.open(io.BytesIO(picture)) as whole:
        return [_encoded(whole.crop(tuple(map(round, found["box"])))) for found in detections]


def _encoded(crop: Image.Image) -> bytes:
    buffer = io.BytesIO()
    crop.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def table(found: dict[str, list[Rates]], concurrency: int) -> list[str]:
    """What was found, in words; ratios are taken within each round."""
    lines = [
        f"| way | pictures/s, {concurrency} in flight | the chain to it | pictures/s, one after the other "
        "| the chain to it | wanted |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for way, rounds in found.items():
        cells = [way]
        for column in (0, 1):
            rates = [rates[column] for rates in rounds]
            ratio = spread(one[column] / other for one, other in zip(found[CHAIN], rates, strict=True))
            cells += [_told(spread(rates), 1), _told(ratio, 2)]
        lines.append(f"| {' | '.join(cells)} | {WANTED.get(way, 1.0):g} |")
    return lines


def _told(found: Spread, decimals: int) -> str:
    return f"{found.median:.{decimals}f} ({found.low:.{decimals}f}-{found.high:.{decimals}f})"


def measure(
    seconds: Annotated[float, typer.Option(min=0.05, help="Length of a slice.")] = 5.0,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 5,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Pictures in flight.")] = 16,
    out: Out = Path("out/bench"),
    models_dir: ModelsDir = None,
) -> None:
    """Measure a chain of a detector and 20 crops beside a plain loop, and beside crops that are asked one by one."""
    models = load_settings(models_dir=models_dir).models_dir
    with sigterm_as_exit(), tempfile.TemporaryDirectory() as folder, ExitStack() as children:
        root = Path(folder) / "models"
        repository(root, models)
        pictures = chain_loop.pictures(root)
        environment = environment_with(ROO_LOG_LEVEL="warning", ROO_DEVICE="cpu")
        options = ["--host", _HOST, "--port", "0", "--models-dir", str(root)]
        child = children.enter_context(
            Child("service", ["app", "serve", *options], Path(folder), environment=environment)
        )
        port, _ = child.wait_until_ready(READY_PATH)
        loop = children.enter_context(chain_loop.running(root, pictures))
        ways = [CHAIN, LOOP, ONE_BY_ONE]
        found: dict[str, list[Rates]] = {way: [] for way in ways}
        for number in range(rounds):
            for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                console.print(f"round {number + 1} of {rounds}: {way} ...")
                if way == LOOP:
                    rates = tuple(loop.measure(count, _WARM_SECONDS, seconds) for count in (loop.threads, 1))
                else:
                    ask, url = _ask_chain if way == CHAIN else _ask_one_by_one, f"http://{_HOST}:{port}"
                    rates = tuple(
                        asyncio.run(press(url, ask, pictures, count, _WARM_SECONDS, seconds))
                        for count in (concurrency, 1)
                    )
                found[way].append(rates)
    out.mkdir(parents=True, exist_ok=True)
    record = {"machine": asdict(machine.describe()), "seconds": seconds, "concurrency": concurrency, "found": found}
    (out / "bench-chains.json").write_text(json.dumps(record, indent=1) + "\n")
    text = "\n".join([*table(found, concurrency), ""])
    (out / "bench-chains.md").write_text(text)
    Console(soft_wrap=True).print(text, markup=False, highlight=False)


if __name__ == "__main__":
    start(measure)
