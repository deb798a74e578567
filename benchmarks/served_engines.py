"""`make bench-engines`: the same model served by different engines and precisions, over HTTP, in alternating slices.

`roo-vision bench --engines` compares them without a server; here each is a service of its own, started as anybody
would, and all wait while one is measured.
"""

import contextlib
import json
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.bench import machine, pictures, run
from app.bench.contenders import READY_PATH, Server
from app.bench.load import HOST
from app.bench.measurements import Measurement, cpu_ms, spread
from app.bench.processes import Child, sigterm_as_exit
from app.errors import StartupError
from app.host.process import environment_with
from app.settings import load_settings
from benchmarks.command_line import Model, ModelsDir, Out, Quick, start

console = Console(stderr=True)

WAYS = "onnx:fp32,onnx:int8,openvino:bf16,openvino:int8"
PREDICT = "/v1/predict?read_barcodes=false"


@dataclass
class Served:
    """One engine in one precision: what it took to be ready, and its slices by pictures in flight."""

    way: str
    server: Server
    slices: dict[int, list[Measurement]] = field(default_factory=dict)

    def rates(self, concurrency: int) -> list[float]:
        """Pictures a second, round by round."""
        return [measured.per_second for measured in self.slices[concurrency]]


def bench_engines(
    ways: Annotated[str, typer.Option(help="ENGINE:PRECISION, with commas; ratios are to the first.")] = WAYS,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured, in turns.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.05, help="Length of a slice.")] = 3.0,
    concurrency: Annotated[str, typer.Option(help="Requests in flight, with commas between.")] = "1,8,32",
    model: Model = None,
    models_dir: ModelsDir = None,
    out: Out = Path("out/engines"),
    quick: Quick = False,
) -> None:
    """Measure a model served by several engines and precisions on the CPU, barcodes unread."""
    settings = load_settings(models_dir=models_dir)
    name = run.choose_model(settings, model)
    rounds, seconds = (1, 0.3) if quick else (rounds, seconds)
    flights = [int(text) for text in concurrency.split(",")]
    workload = pictures.workloads(settings.models_dir / name, 8)[0]
    with sigterm_as_exit(), tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as opened:
        served = [_start(way, settings.models_dir, name, Path(scratch), opened) for way in ways.split(",")]
        for number in range(rounds):
            for flight in flights:
                console.print(f"round {number + 1} of {rounds}, {flight} in flight", style="dim")
                for each in served:
                    found = each.server.measure(workload, flight, min(0.5, seconds / 4), seconds)
                    each.slices.setdefault(flight, []).append(found)
        memory = {each.way: (each.server.child.resident_mb(), each.server.child.peak_mb()) for each in served}
    out.mkdir(parents=True, exist_ok=True)
    slices = {
        each.way: {flight: [asdict(found) for found in several] for flight, several in each.slices.items()}
        for each in served
    }
    content = {"machine": asdict(machine.describe()), "slices": slices}
    (out / "engines.json").write_text(json.dumps(content, indent=1) + "\n")
    table = _table(served, flights, rounds, seconds, memory)
    (out / "engines.md").write_text(table)
    Console().print(table, markup=False, highlight=False, soft_wrap=True)


def _start(way: str, models_dir: Path, model: str, scratch: Path, opened: contextlib.ExitStack) -> Served:
    engine, colon, precision = way.partition(":")
    if not colon:
        raise StartupError(f"--ways {way}: is not ENGINE:PRECISION, such as onnx:int8.")
    variables = {"ROO_ENGINE": engine, "ROO_PRECISION": precision, "ROO_DEVICE": "cpu", "ROO_DEFAULT_MODEL": model}
    environment = environment_with(ROO_PORT="0", ROO_HOST=HOST, ROO_MODELS_DIR=str(models_dir.absolute()), **variables)
    child = opened.enter_context(Child(way.replace(":", " "), ["app", "serve"], scratch, environment=environment))
    return Served(way, Server(way, child, READY_PATH, PREDICT))


def _table(
    served: list[Served], flights: list[int], rounds: int, seconds: float, memory: dict[str, tuple[float, float]]
) -> str:
    lines = [
        f"Rounds of alternating slices of {seconds:g} s: {rounds}; median (lowest-highest); ratios within each round.",
        "",
        f"| in flight | engine, precision | pictures/s | to {served[0].way} | p50 ms | p99 ms | CPU ms | errors |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for flight in flights:
        base = served[0].rates(flight)
        for each in served:
            slices = each.slices[flight]
            rates = spread(each.rates(flight))
            ratios = spread(rate / other for rate, other in zip(each.rates(flight), base, strict=True))
            cells = [
                str(flight),
                each.way,
                f"{rates.median:.0f} ({rates.low:.0f}-{rates.high:.0f})",
                f"{ratios.median:.2f} ({ratios.low:.2f}-{ratios.high:.2f})",
                f"{spread(found.p50_ms for found in slices).median:.1f}",
                f"{spread(found.p99_ms for found in slices).median:.1f}",
                f"{cpu_ms(slices):.1f}",
                str(sum(found.errors for found in slices)),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| engine, precision | start to ready s | ready MB | after load MB | peak MB |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    for each in served:
        after, peak = memory[each.way]
        ready = each.server
        lines.append(f"| {each.way} | {ready.ready_seconds:.1f} | {ready.ready_mb:.0f} | {after:.0f} | {peak:.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    start(bench_engines)
