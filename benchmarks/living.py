"""`make bench-living`: what it costs those who are served that a model is renewed, shadowed, or one of a hundred.

A model is reloaded under saturation; one version shadows another at a tenth of the requests, in alternating slices; and
a service starts with one small model and with a hundred that are loaded on demand.
"""

import json
import shutil
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from app.bench import load, machine, pictures
from app.bench.load import HOST
from app.bench.measurements import Measurement, spread
from app.bench.processes import Child, sigterm_as_exit
from app.bench.results import in_range
from app.repository.manifest import FILE_NAME
from benchmarks import timed_models
from benchmarks.command_line import Out, Quick, start
from benchmarks.states import HERE, NOW

console = Console(stderr=True)

MODEL = "shelf"
IN_FLIGHT = 32
SMALL_MODELS = 100
LOOK_SECONDS = 0.02


@dataclass(slots=True)
class Figures:
    """What was measured, round by round; memory is in MB (10^6 bytes)."""

    swaps: list[dict[str, float]] = field(default_factory=list)
    shadows: list[dict[str, float]] = field(default_factory=list)
    starts: list[dict[str, float]] = field(default_factory=list)
    copy_mb: float = 0.0
    errors: int = 0


def bench_living(
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.2, help="Length of a slice.")] = 4.0,
    out: Out = Path("out/bench"),
    quick: Quick = False,
) -> None:
    """Measure swaps under saturation, a shadow of a tenth, and a start with a hundred models."""
    rounds, seconds, many = (1, 0.5, 5) if quick else (rounds, seconds, SMALL_MODELS)
    figures = Figures()
    with sigterm_as_exit(), tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _swaps(figures, folder, rounds, seconds)
        _shadows(figures, folder, rounds, seconds)
        _starts(figures, folder, rounds, many)
    words = _table(figures, many, seconds)
    out.mkdir(parents=True, exist_ok=True)
    content = {"machine": asdict(machine.describe()), "figures": asdict(figures)}
    (out / "bench-living.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / "bench-living.md").write_text(words + "\n")
    Console().print(words, markup=False, highlight=False, soft_wrap=True)


def _swaps(figures: Figures, folder: Path, rounds: int, seconds: float) -> None:
    """The model is reloaded while as much is asked as can be answered."""
    models = _shelf(folder / "swaps", ["1"])
    figures.copy_mb = _copy_mb(models, folder)
    with NOW.serving(models, folder, model_control="open") as (child, port):
        for number in range(rounds):
            console.print(f"round {number + 1} of {rounds}: a swap", style="dim")
            before = _press(child, port, seconds)
            took: list[float] = []
            reload = threading.Thread(target=lambda took=took: took.append(_reload(port)))
            with _peak(child) as peak:
                quiet = child.resident_mb()
                reload.start()
                during = [_press(child, port, seconds, warm=0.0)]
                while reload.is_alive():
                    during.append(_press(child, port, seconds, warm=0.0))
                reload.join()
            after = _press(child, port, min(2.0, seconds))
            figures.errors += sum(each.errors for each in (before, *during, after))
            figures.swaps.append(
                {
                    "seconds": took[0],
                    "p99": max(each.p99_ms for each in during) / before.p99_ms,
                    "throughput": statistics.mean(each.per_second for each in during) / before.per_second,
                    "after": after.per_second / before.per_second,
                    "peak_mb": max(peak) - quiet,
                    "before_p99_ms": before.p99_ms,
                }
            )


def _shadows(figures: Figures, folder: Path, rounds: int, seconds: float) -> None:
    """Of two versions the second computes a tenth of what the first answers, or nothing."""
    models = _shelf(folder / "shadows", ["1", "2"], traffic={"1": 100, "2": 0})
    with NOW.serving(models, folder, model_control="open") as (child, port):
        for number in range(rounds):
            console.print(f"round {number + 1} of {rounds}: a shadow", style="dim")
            found: dict[float, tuple[Measurement, Measurement]] = {}
            for percent in (0.0, 10.0) if number % 2 else (10.0, 0.0):
                _post(port, "traffic", {"shadow": {"2": percent}})
                found[percent] = _press(child, port, seconds), _press(child, port, seconds, in_flight=1)
            (busy, alone), (plain_busy, plain_alone) = found[10.0], found[0.0]
            figures.errors += sum(each.errors for each in (busy, alone, plain_busy, plain_alone))
            figures.shadows.append(
                {
                    "throughput": busy.per_second / plain_busy.per_second,
                    "p99": busy.p99_ms / plain_busy.p99_ms,
                    "p99_alone": alone.p99_ms / plain_alone.p99_ms,
                }
            )


def _starts(figures: Figures, folder: Path, rounds: int, many: int) -> None:
    """A start with one small model, and with many that wait until somebody asks."""
    one, hundred = folder / "one", folder / "many"
    timed_models.add_model(one, "small-000", 0.0)
    for number in range(many):
        shutil.copytree(one / "small-000", hundred / f"small-{number:03}")
    for number in range(rounds):
        console.print(f"round {number + 1} of {rounds}: a start", style="dim")
        found: dict[str, float] = {}
        for name, models in (("one", one), ("many", hundred)):
            began = time.monotonic()
            settings = {"load": "on-demand", "default_model": "small-000"}
            with NOW.serving(models, folder, **settings) as (child, _):
                found[f"{name}_ready"] = time.monotonic() - began
                found[f"{name}_mb"] = child.resident_mb()
        figures.starts.append(found)


def _shelf(root: Path, versions: list[str], **changes: Any) -> Path:
    """A repository with the bundled model in so many versions, all alike."""
    source, folder = HERE / "models" / MODEL, root / MODEL
    manifest = yaml.safe_load((source / FILE_NAME).read_text())
    digests = manifest["sha256"]["1"]
    for version in versions:
        shutil.copytree(source / "1", folder / version)
    shutil.copytree(source / "examples", folder / "examples")
    manifest |= {"versions": versions, "sha256": dict.fromkeys(versions, digests), **changes}
    (folder / FILE_NAME).write_text(yaml.safe_dump(manifest))
    return root


def _copy_mb(models: Path, folder: Path) -> float:
    """What one more model of this kind takes of a service that has answered."""
    two = folder / "two"
    shutil.copytree(models / MODEL, two / MODEL)
    shutil.copytree(models / MODEL, two / f"{MODEL}-again")
    found = []
    for root, names in ((models, [MODEL]), (two, [MODEL, f"{MODEL}-again"])):
        with NOW.serving(root, folder) as (child, port):
            for name in names:
                _press(child, port, 1.0, model=name)
            found.append(child.resident_mb())
    return found[1] - found[0]


def _press(
    child: Child, port: int, seconds: float, *, in_flight: int = IN_FLIGHT, warm: float = 0.5, model: str = MODEL
) -> Measurement:
    examples = pictures.workloads(HERE / "models" / MODEL, 8)[0].pictures
    requests = [load.post(f"/v1/models/{model}/predict", "image/jpeg", picture) for picture in examples]
    found = load.press(load.Target(port, child.cpu_seconds), requests, in_flight, warm, seconds)
    child.check_alive()
    return found


def _reload(port: int) -> float:
    """Reload the model; returns the seconds that the service says it took."""
    return float(_post(port, "reload", {})["seconds"])


def _post(port: int, verb: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://{HOST}:{port}/v1/models/{MODEL}/{verb}",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


@contextmanager
def _peak(child: Child) -> Iterator[list[float]]:
    """Looks at the memory, in MB, while the block runs."""
    seen, ended = [child.resident_mb()], threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):
            seen.append(child.resident_mb())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        ended.set()
        looking.join()


def _table(figures: Figures, many: int, seconds: float) -> str:
    def of(rows: list[dict[str, float]], read: Callable[[dict[str, float]], float], digits: int = 2) -> str:
        return in_range(spread(read(row) for row in rows), digits)

    swaps, shadows, starts = figures.swaps, figures.shadows, figures.starts
    p99 = statistics.median(row["before_p99_ms"] for row in swaps)
    rows = [
        ("swap under saturation: requests that failed", f"{figures.errors}", "0"),
        (
            f"p99 of {seconds:g} s from the reload on, to before ({p99:.0f} ms)",
            of(swaps, lambda row: row["p99"]),
            "1.5",
        ),
        ("throughput of the same", of(swaps, lambda row: row["throughput"]), ""),
        ("throughput of the 2 s after it", of(swaps, lambda row: row["after"]), "1"),
        ("seconds that a reload takes", of(swaps, lambda row: row["seconds"]), ""),
        (f"most memory meanwhile, in copies of the model ({figures.copy_mb:.0f} MB)", _copies(figures), "1"),
        ("shadow of 10 %, 32 in flight: throughput to without", of(shadows, lambda row: row["throughput"]), "0.9"),
        ("p99 of the same", of(shadows, lambda row: row["p99"]), "1.1"),
        ("p99 of one in flight", of(shadows, lambda row: row["p99_alone"]), "1.1"),
        (f"{many} small models on demand: seconds to ready", of(starts, lambda row: row["many_ready"]), "5"),
        ("the same with one", of(starts, lambda row: row["one_ready"]), ""),
        ("idle memory to that with one", of(starts, lambda row: row["many_mb"] / row["one_mb"]), "1.3"),
    ]
    lines = ["| what | median (lowest-highest) | wanted |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _copies(figures: Figures) -> str:
    return in_range(spread(row["peak_mb"] / figures.copy_mb for row in figures.swaps))


if __name__ == "__main__":
    start(bench_living)
