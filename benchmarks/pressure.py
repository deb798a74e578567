"""`make bench-pressure`: hostile bodies, silent uploads and a slow neighbour, beside an earlier state of the code."""

import contextlib
import json
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.bench import load, machine, pictures
from app.bench.measurements import Measurement, spread
from app.bench.processes import sigterm_as_exit
from app.host.process import usable_cores
from app.settings import load_settings
from app.vision import image
from benchmarks import hostile_bodies, timed_models
from benchmarks.command_line import ModelsDir, Out, Quick, start
from benchmarks.hostile_bodies import MIB, RAW, Hostile
from benchmarks.pressure_stage import LivezWatch, mean_compute_seconds, send_at_once, silent_uploads
from benchmarks.states import NOW, State, state_before

console = Console(stderr=True)

BEFORE = "c5dee84"
SLOW_SECONDS, FAST_SECONDS = 2.0, 0.001
LANES = (2, 1)
PREDICT = "/v1/predict?read_barcodes=false"
SILENT, ANNOUNCED = 200, 64 * MIB


@dataclass(frozen=True, slots=True)
class UnderFire:
    """What one hostile body, sent over many connections at once, did to the service."""

    name: str
    livez_worst_ms: float
    peak_mb: float
    answers: dict[str, int]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A fast model's latencies, alone and beside a saturated slow one, whose batches then took `slow_batch_ms` on
    average; `refused` of so many pictures sent.
    """

    lanes: int
    slow_batch_ms: float
    alone_p99_ms: float
    beside_p99_ms: float
    refused: int
    sent: int


@dataclass(frozen=True, slots=True)
class Found:
    """All figures of one state of the code."""

    state: str
    memory_bound_mb: float
    per_second: dict[str, list[float]]
    under_fire: list[UnderFire]
    alone_per_second: float
    beside_silent_per_second: float
    neighbours: list[Neighbour]


def alternate(
    states: Sequence[State], models_dir: Path, rounds: int, seconds: float, folder: Path
) -> list[dict[str, list[float]]]:
    """Pictures a second of each state, with 32 in flight, by the pictures' size: all serve, and are asked in turns."""
    found: list[dict[str, list[float]]] = [{} for _ in states]
    with contextlib.ExitStack() as opened:
        services = [opened.enter_context(state.serving(models_dir, folder)) for state in states]
        for workload in pictures.workloads(_model_folder(models_dir), 8):
            console.print(f"{workload.size}, 32 in flight, in turns ...")
            requests = [load.post(PREDICT, "image/jpeg", picture) for picture in workload.pictures]
            for turn in range(rounds):
                order = list(zip(services, found, strict=True))
                for (child, port), rates in order if turn % 2 else reversed(order):
                    measured = load.press(load.Target(port, child.cpu_seconds), requests, 32, 1.0, seconds)
                    rates.setdefault(workload.size, []).append(measured.per_second)
    return found


def measure(
    state: State,
    models_dir: Path,
    bodies: Sequence[Hostile],
    seconds: float,
    folder: Path,
    per_second: dict[str, list[float]],
) -> Found:
    """Press one state of the code with everything."""
    console.print(f"{state.name}: a fast model beside a slow one ...")
    neighbours = [_beside_slow(state, lanes, seconds, folder) for lanes in LANES[: 1 if seconds < 2 else None]]
    console.print(f"{state.name}: {SILENT} silent uploads ...")
    alone, beside = _beside_silent(state, models_dir, seconds, folder)
    under_fire = []
    for body in bodies:
        console.print(f"{state.name}: {body.name} ...")
        under_fire.append(_under_fire(state, models_dir, body, folder))
    return Found(state.name, state.memory_bound_mb(), per_second, under_fire, alone, beside, neighbours)


def _under_fire(state: State, models_dir: Path, body: Hostile, folder: Path) -> UnderFire:
    with state.serving(models_dir, folder) as (child, port):
        with LivezWatch(port, folder) as watch:
            answers = send_at_once(port, body.request, body.connections)
        return UnderFire(body.name, watch.worst_ms, child.peak_mb(), answers)


def _beside_silent(state: State, models_dir: Path, seconds: float, folder: Path) -> tuple[float, float]:
    workload = pictures.workloads(_model_folder(models_dir), 8)[0]
    requests = [load.post(PREDICT, "image/jpeg", picture) for picture in workload.pictures]
    with state.serving(models_dir, folder) as (child, port):
        target = load.Target(port, child.cpu_seconds)
        alone = load.press(target, requests, 8, 2.0, seconds)
        with silent_uploads(port, SILENT, ANNOUNCED):
            beside = load.press(target, requests, 8, 2.0, seconds)
    return alone.per_second, beside.per_second


def _beside_slow(state: State, lanes: int, seconds: float, folder: Path) -> Neighbour:
    models = Path(tempfile.mkdtemp(dir=folder))
    timed_models.add_model(models, "fast", FAST_SECONDS)
    timed_models.add_model(models, "slow", SLOW_SECONDS)
    picture = image.specimen()
    fast = [load.post("/v1/models/fast/predict", RAW, picture)]
    slow = [load.post("/v1/models/slow/predict?deadline_ms=600000", RAW, picture)]
    with state.serving(models, folder, default_model="fast", lanes=str(lanes), calibrate="false") as (child, port):
        target = load.Target(port, child.cpu_seconds)
        alone = load.press(target, fast, 1, 0.5, seconds)
        with _saturated(target, slow, seconds):
            beside = load.press(target, fast, 1, 3 * SLOW_SECONDS, 6 * seconds)
        batch_ms = 1e3 * mean_compute_seconds(port, "slow")
    return Neighbour(lanes, batch_ms, alone.p99_ms, beside.p99_ms, beside.errors, beside.errors + beside.pictures)


@contextlib.contextmanager
def _saturated(target: load.Target, requests: list[bytes], seconds: float) -> Iterator[None]:
    """Eight requests in flight for as long as the block needs, and a little longer."""
    found: list[Measurement] = []
    thread = threading.Thread(
        target=lambda: found.append(load.press(target, requests, 8, 0.0, 6 * seconds + 4 * SLOW_SECONDS))
    )
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _model_folder(models_dir: Path) -> Path:
    return next(models_dir.glob("*/model.yaml")).parent


def words(found: Sequence[Found]) -> str:
    """The tables of all states, the newest last."""
    columns = [f"{each.state}: {what}" for each in found for what in ("/livez worst ms", "peak MB", "answers")]
    lines = [_row("", *columns)]
    lines.append(_row(*["---"] * (1 + 3 * len(found))))
    for place, body in enumerate(found[0].under_fire):
        cells = [_fire_cells(each.under_fire[place], each.memory_bound_mb) for each in found]
        lines.append(_row(body.name, *(cell for row in cells for cell in row)))
    bounds = ", ".join(f"{each.state} {each.memory_bound_mb:.0f} MB" for each in found)
    lines += ["", f"Bound that the settings as shipped promise: {bounds}. Peaks beyond it are marked !.", ""]
    lines += [_row("", *(each.state for each in found)), _row(*["---"] * (1 + len(found)))]
    for size in found[0].per_second:
        rates = [_rate_words(each.per_second[size], found[0].per_second[size]) for each in found]
        lines.append(_row(f"pictures/s, {size}, 32 in flight, in turns", *rates))
    lines.append(_row("pictures/s alone, 8 in flight", *(f"{each.alone_per_second:.0f}" for each in found)))
    silent = [f"{each.beside_silent_per_second:.0f} ({_part(each):.2f} of alone)" for each in found]
    lines.append(_row(f"beside {SILENT} silent uploads", *silent))
    for place, neighbour in enumerate(found[0].neighbours):
        lanes = "lane" if neighbour.lanes == 1 else "lanes"
        cells_ = [_neighbour_words(each.neighbours[place]) for each in found]
        lines.append(_row(f"fast model beside a saturated slow one, {neighbour.lanes} {lanes}", *cells_))
    return "\n".join([*lines, ""])


def _fire_cells(fire: UnderFire, bound: float) -> tuple[str, str, str]:
    mark = " !" if fire.peak_mb > bound else ""
    answers = ", ".join(f"{count} x {status}" for status, count in sorted(fire.answers.items()))
    return f"{fire.livez_worst_ms:.0f}", f"{fire.peak_mb:.0f}{mark}", answers


def _neighbour_words(found: Neighbour) -> str:
    return (
        f"p99 {found.beside_p99_ms:.0f} ms (alone {found.alone_p99_ms:.0f}; a slow batch {found.slow_batch_ms:.0f}), "
        f"{found.refused} of {found.sent} refused"
    )


def _rate_words(rates: list[float], first: list[float]) -> str:
    ratio = spread(rate / other for rate, other in zip(rates, first, strict=True))
    return f"{spread(rates).median:.0f} ({ratio.median:.2f}, {ratio.low:.2f}-{ratio.high:.2f} of the first)"


def _part(found: Found) -> float:
    return found.beside_silent_per_second / found.alone_per_second


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def bench_pressure(
    models_dir: ModelsDir = None,
    before: Annotated[str, typer.Option(help="Commit to compare with; empty for none.")] = BEFORE,
    out: Out = Path("out"),
    quick: Quick = False,
) -> None:
    """Press the service with what strangers may send, and an earlier state of it likewise."""
    settings = load_settings(models_dir=models_dir)
    models = settings.models_dir.resolve()
    with sigterm_as_exit(), tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as opened:
        bodies = hostile_bodies.all_bodies()
        states = [opened.enter_context(state_before(before))] if before else []
        states.append(NOW)
        seconds = 1.0 if quick else 10.0
        folder, chosen = Path(name), bodies[:1] if quick else bodies
        rates = alternate(states, models, 1 if quick else 7, seconds / 2, folder)
        found = [
            measure(state, models, chosen, seconds, folder, each) for state, each in zip(states, rates, strict=True)
        ]
    out.mkdir(parents=True, exist_ok=True)
    states_found = [asdict(each) for each in found]
    record = {"machine": asdict(machine.describe()), "lanes": usable_cores(), "states": states_found}
    (out / "bench-pressure.json").write_text(json.dumps(record, indent=1) + "\n")
    (out / "bench-pressure.md").write_text(words(found))
    Console(soft_wrap=True).print(words(found), markup=False, highlight=False)


if __name__ == "__main__":
    start(bench_pressure)
