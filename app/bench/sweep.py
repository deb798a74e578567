"""`roo-vision bench --engines`: every engine that is installed, in every precision and batch size, side by side.

What it measures is the core without its fronts: encoded 1280 x 720 pictures in, detections out, in as many threads as
the service would have lanes; and the network alone. It recommends settings for this machine.
"""

import json
import math
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from app.bench import machine, pictures, sweep_plot
from app.bench.engine_loop import EngineTrial, Part
from app.bench.measurements import Measurement, spread
from app.bench.processes import Child, sigterm_as_exit
from app.bench.sweep_results import Point, SweepResults
from app.errors import StartupError
from app.host.process import environment_with
from app.settings import Settings

ENGINES = ("onnx", "openvino", "torch", "tensorrt")
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
BASE = ("onnx", "fp32")
"""Engine and precision that the others are compared with."""
BATCHES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """Seconds of a slice, rounds, batch sizes, and the folder for what is written."""

    seconds: float
    rounds: int
    batches: tuple[int, ...]
    out: Path


def make_plan(seconds: float | None, rounds: int | None, out: Path, *, quick: bool) -> SweepPlan:
    """A plan from the command line's options; `quick` shortens what is left None."""
    batches = BATCHES[:2] if quick else BATCHES
    return SweepPlan(seconds or (0.2 if quick else 2.0), rounds or (1 if quick else 3), batches, out)


class _Contender:
    """A child that computes with one engine in one precision."""

    def __init__(self, child: Child, described: dict[str, object]) -> None:
        self.child = child
        self.engine = str(described["engine"])
        self.precision = str(described["precision"])
        self.device = str(described["device"])
        self.lanes = int(str(described["lanes"]))
        self.most = int(str(described["most"]))
        self.found: dict[tuple[int, str], list[Measurement]] = {}

    def measure(self, files: list[str], batch: int, plan: SweepPlan) -> None:
        """One slice each of: the whole way, the network alone, and the whole way with one picture in flight."""
        slices: list[tuple[str, int, Part]] = [
            ("whole", self.lanes, "whole"),
            ("network", self.lanes, "network"),
            ("alone", 1, "whole"),
        ]
        for kind, threads, part in slices:
            order = EngineTrial(files, threads, batch, part, min(0.5, plan.seconds / 4), plan.seconds)
            answer = Measurement(**json.loads(self.child.ask(json.dumps(asdict(order)))))
            self.found.setdefault((batch, kind), []).append(answer)


def run(plan: SweepPlan, settings: Settings, model: str) -> None:
    """Measure, print, and write `sweep.json` and `sweep.png` into `plan.out`.

    Raises `StartupError` where no engine can compute the model.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    results = _measure(plan, settings, model, console)
    _print(results, console)
    path = plan.out / "sweep.json"
    described = asdict(results) | {"recommendation": asdict(results.recommendation)}
    path.write_text(json.dumps(described, indent=1) + "\n")
    for line in (f"wrote {path}", sweep_plot.write(results, plan.out / "sweep.png")):
        console.print(line, markup=False, highlight=False)


def _measure(plan: SweepPlan, settings: Settings, model: str, console: Console) -> SweepResults:
    described = machine.describe()
    with sigterm_as_exit(), TemporaryDirectory(prefix="roo-bench-") as scratch, ExitStack() as children:
        files = _pictures(settings.models_dir / model, Path(scratch))
        contenders, absent = _start(plan, settings, model, Path(scratch), children)
        if not contenders:
            raise StartupError("No engine can compute this model here: " + "; ".join(absent))
        for number in range(plan.rounds):
            for batch in plan.batches:
                console.print(f"round {number + 1} of {plan.rounds}, batches of {batch}", style="dim")
                for contender in contenders:
                    if batch <= contender.most:
                        contender.measure(files, batch, plan)
        points = [_point(contender, contenders, batch) for contender in contenders for batch in _batches(contender)]
    return SweepResults(described, model, plan.rounds, points, absent)


def _pictures(model_folder: Path, scratch: Path) -> list[str]:
    workload = pictures.workloads(model_folder, 8)[0]
    paths = [scratch / f"{index}.jpg" for index in range(len(workload.pictures))]
    for path, picture in zip(paths, workload.pictures, strict=True):
        path.write_bytes(picture)
    return [str(path) for path in paths]


def _start(
    plan: SweepPlan, settings: Settings, model: str, scratch: Path, children: ExitStack
) -> tuple[list[_Contender], list[str]]:
    """One child for each engine and precision that works here; why an engine does not work in any."""
    contenders: list[_Contender] = []
    absent: list[str] = []
    for engine in ENGINES:
        problems: list[str] = []
        for precision in PRECISIONS:
            environment = environment_with(
                ROO_ENGINE=engine,
                ROO_PRECISION=precision,
                ROO_DEVICE=settings.device,
            )
            most = str(max(plan.batches))
            arguments = ["app.bench.engine_loop", str(settings.models_dir.absolute()), model, most]
            child = children.enter_context(
                Child(f"{engine} {precision}", arguments, scratch, talks=True, environment=environment)
            )
            described = json.loads(child.listen())
            if "problem" in described:
                problems.append(f"{engine}: {described['problem']}")
            else:
                contenders.append(_Contender(child, described))
        if len(problems) == len(PRECISIONS):
            absent.append(problems[0])
    return contenders, absent


def _batches(contender: _Contender) -> list[int]:
    return sorted({batch for batch, _ in contender.found})


def _point(contender: _Contender, contenders: list[_Contender], batch: int) -> Point:
    whole = contender.found[batch, "whole"]
    base = next((other for other in contenders if (other.engine, other.precision) == BASE), None)
    ratios = []
    if base is not None:
        best = [max(rates) for rates in zip(*(_rates(base, size) for size in _batches(base)), strict=True)]
        # A slice on a busy machine may be too short for a single answer.
        ratios = [item.per_second / most if most else math.nan for item, most in zip(whole, best, strict=True)]
    return Point(
        engine=contender.engine,
        precision=contender.precision,
        device=contender.device,
        batch=batch,
        whole=spread(item.per_second for item in whole),
        network=spread(item.per_second for item in contender.found[batch, "network"]),
        to_base=spread(ratios),
        alone_ms=spread(item.p50_ms for item in contender.found[batch, "alone"]),
        memory_mb=contender.child.peak_mb(),
    )


def _rates(contender: _Contender, batch: int) -> list[float]:
    return [item.per_second for item in contender.found[batch, "whole"]]


def _print(results: SweepResults, console: Console) -> None:
    table = Table(
        "engine",
        "precision",
        "device",
        "batch",
        "pictures/s",
        f"to best {' '.join(BASE)}",
        "network alone/s",
        "one batch alone, p50 ms",
        "peak MB",
        title=f"{results.model} on {results.machine.cpu}, {results.machine.cores} cores, {results.rounds} rounds",
    )
    for point in results.points:
        table.add_row(
            point.engine,
            point.precision,
            point.device,
            str(point.batch),
            f"{point.whole.median:.0f}",
            f"{point.to_base.median:.2f} ({point.to_base.low:.2f}-{point.to_base.high:.2f})",
            f"{point.network.median:.0f}",
            f"{point.alone_ms.median:.1f}",
            f"{point.memory_mb:.0f}",
        )
    console.print(table)
    for line in (*results.recommendation.lines, *(f"left out: {text}" for text in results.absent)):
        console.print(line, markup=False, highlight=False)
