"""`roo-vision bench`: start the service, measure it under load, write what was found.

Where others are to be measured beside it, as `benchmarks.comparison` does, all take turns in alternating slices.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from app.bench import machine, pictures, plot, soak, tables, targets
from app.bench.contenders import Contender, Launcher, Server
from app.bench.measurements import Slice
from app.bench.pictures import Workload
from app.bench.plan import BenchPlan
from app.bench.processes import sigterm_as_exit
from app.bench.results import Memory, Results, Target
from app.errors import StartupError
from app.repository import repository
from app.settings import Settings

START_GUESS_SECONDS = 2.0
SOAK_GUESS_PER_SECOND = 60.0

C = TypeVar("C")
Found = tuple[list[Slice], dict[str, Memory], float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whom the service is measured beside: how they are started, what is wanted of it then, what a reader must know."""

    start: Callable[[Launcher, ExitStack], Sequence[Contender]]
    targets: Callable[[Results], list[Target]]
    notes: tuple[str, ...] = ()


ALONE = Comparison(lambda launcher, children: [], lambda results: [])


def run(plan: BenchPlan, settings: Settings, model: str | None, beside: Comparison = ALONE) -> bool:
    """Measure, print and write `bench.json`, `bench.md` and `bench.png` into `plan.out`; True when no request failed.

    Raises `StartupError` where one of them cannot start or ends by itself.
    """
    name = choose_model(settings, model)
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(f"--out {plan.out}: {error.strerror}.") from None
    path = ("/v1/predict" if model is None else f"/v1/models/{name}/predict") + "?read_barcodes=false"
    results = _measure(plan, settings, name, path, beside)
    results = replace(results, targets=[*beside.targets(results), *targets.of_service(results)])
    console = Console()
    tables.print_results(results, console)
    for line in _write(results, plan.out):
        console.print(line, markup=False, highlight=False)
    return not results.errors


def turns(
    plan: BenchPlan, workloads: list[Workload], contenders: Sequence[C]
) -> Iterator[tuple[int, Workload, int, C]]:
    """Round, pictures, concurrency and contender of every slice, in the order of measuring.

    Contenders follow each other on the same pictures and concurrency, and who is first changes from slice to slice and
    from round to round: a machine that grows slower or faster hits all alike.
    """
    groups = [(workload, concurrency) for workload in workloads for concurrency in plan.concurrencies]
    for number in range(plan.rounds):
        for place, (workload, concurrency) in enumerate(groups):
            first = (number + place) % len(contenders)
            for contender in (*contenders[first:], *contenders[:first]):
                yield number, workload, concurrency, contender


def _measure(plan: BenchPlan, settings: Settings, model: str, predict_path: str, beside: Comparison) -> Results:
    described = machine.describe()
    with sigterm_as_exit(), TemporaryDirectory(prefix="roo-bench-") as folder, _progress(plan) as steps:
        launcher = Launcher(settings.models_dir, model, settings.device, predict_path, Path(folder))
        steps.begin("making pictures")
        workloads = pictures.workloads(settings.models_dir / model, plan.pictures)
        starts = _time_starts(plan, launcher, steps)
        slices, memory, idle = _take_turns(plan, launcher, beside, workloads, starts, steps)
        soaked = _soak(plan, launcher, steps) if plan.soak else None
    return Results(
        machine=described,
        model=model,
        settings=settings.model_dump(mode="json"),
        plan=asdict(plan) | {"out": str(plan.out)},
        pictures=[
            f"{load.size}: {len(load.pictures)} JPEGs of {load.mean_kb:.0f} kB, {load.source}" for load in workloads
        ],
        slices=slices,
        starts=starts,
        memory=memory,
        idle=idle,
        soak=soaked,
        notes=list(beside.notes),
    )


def _time_starts(plan: BenchPlan, launcher: Launcher, steps: "_Steps") -> list[float]:
    """Start the service alone on the machine, and stop it again; the start that stays is timed by `_take_turns`."""
    seconds = []
    for number in range(plan.starts - 1):
        steps.begin(f"start {number + 1} of {plan.starts}")
        with launcher.service() as child:
            seconds.append(launcher.as_service(child).ready_seconds)
        steps.end(START_GUESS_SECONDS)
    return seconds


def _take_turns(
    plan: BenchPlan,
    launcher: Launcher,
    beside: Comparison,
    workloads: list[Workload],
    starts: list[float],
    steps: "_Steps",
) -> Found:
    with ExitStack() as children:
        steps.begin("starting")
        service = launcher.as_service(children.enter_context(launcher.service()))
        starts.append(service.ready_seconds)
        contenders = [*beside.start(launcher, children), service]
        steps.end(START_GUESS_SECONDS)
        slices = []
        for number, workload, concurrency, contender in turns(plan, workloads, contenders):
            steps.begin(
                f"round {number + 1} of {plan.rounds}: {workload.size}, {concurrency} in flight, {contender.name}"
            )
            measured = contender.measure(workload, concurrency, plan.warm_seconds, plan.seconds)
            slices.append(Slice(number, workload.size, concurrency, contender.name, measured))
            steps.end((plan.warm_seconds + plan.seconds) / len(contenders))
        idle = _watch_idle(service, plan.idle_seconds, steps)
        memory = {
            server.name: Memory(server.ready_mb, server.child.resident_mb(), server.child.peak_mb())
            for server in contenders
            if isinstance(server, Server)
        }
    return slices, memory, idle


def _watch_idle(service: Server, seconds: float, steps: "_Steps") -> float:
    steps.begin("the service without requests")
    used, began = service.child.cpu_seconds(), time.perf_counter()
    time.sleep(seconds)
    share = (service.child.cpu_seconds() - used) / (time.perf_counter() - began)
    steps.end(seconds)
    return share


def _soak(plan: BenchPlan, launcher: Launcher, steps: "_Steps") -> soak.Soak:
    """On a service of its own, whose memory is not that of the slices before."""
    steps.begin("soak: making pictures")
    with launcher.service() as child:
        server = launcher.as_service(child)

        def on_answer(answered: int) -> None:
            steps.begin(f"soak: {answered:,} of {plan.soak:,} answered")
            steps.end(plan.soak / soak.SAMPLES / SOAK_GUESS_PER_SECOND)

        return soak.run(server, plan.soak, on_answer)


def choose_model(settings: Settings, model: str | None) -> str:
    """The model to measure: the one asked for, the default one, or the only one."""
    entries = {entry.name: entry for entry in repository.scan(settings.models_dir, settings.model_name)}
    asked = model or settings.default_model
    if asked is None and len(entries) > 1:
        raise StartupError(f"{settings.models_dir} has several models: {', '.join(entries)}. Choose one with --model.")
    name = asked or next(iter(entries))
    if name not in entries:
        raise StartupError(f"There is no model {name!r} in {settings.models_dir}; there are: {', '.join(entries)}.")
    return name


def _write(results: Results, out: Path) -> list[str]:
    """Write the files; returns what to say about each."""
    (out / "bench.json").write_text(json.dumps(results.to_json(), indent=1) + "\n")
    (out / "bench.md").write_text(tables.to_markdown(results))
    return [f"wrote {out / 'bench.json'} and {out / 'bench.md'}", plot.write(results, out / "bench.png")]


class _Steps:
    """Progress, drawn between the steps only: a redraw during a slice would be in its figures."""

    def __init__(self, progress: Progress, total: float) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def begin(self, what: str) -> None:
        self._progress.update(self._task, description=what, refresh=True)

    def end(self, seconds: float) -> None:
        self._progress.update(self._task, advance=seconds, refresh=True)


@contextmanager
def _progress(plan: BenchPlan) -> Iterator[_Steps]:
    total = (
        START_GUESS_SECONDS * plan.starts
        + plan.slices * (plan.warm_seconds + plan.seconds)
        + plan.idle_seconds
        + plan.soak / SOAK_GUESS_PER_SECOND
    )
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        yield _Steps(progress, total)
