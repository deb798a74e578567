"""`make bench-telemetry`: what telemetry costs, in alternating slices of one run."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.bench import load, machine, pictures
from app.bench.contenders import READY_PATH, Server
from app.bench.measurements import Spread, spread
from app.bench.pictures import Workload
from app.bench.processes import Child, sigterm_as_exit
from app.bench.run import choose_model
from app.errors import StartupError
from app.host.process import environment_with
from app.settings import load_settings
from benchmarks.command_line import Device, Model, ModelsDir, Out, start
from benchmarks.queue_stage import Repository

OFF, LOCAL = "off", "metrics and log lines"
EXPORTED, ALL = "metrics and traces of 10 % exported", "log lines exported as well"
WANTED = 0.97

_NOTHING = {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "APPLICATIONINSIGHTS_CONNECTION_STRING": ""}
_SAMPLED = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
_EXPORT_SECONDS = 5
_WARM_SECONDS = 0.5

console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class TelemetryPlan:
    """`rounds` of a slice of `seconds` for each way; `out` is the folder for the figures."""

    seconds: float
    rounds: int
    concurrency: int
    out: Path


@dataclass(frozen=True, slots=True)
class Found:
    """Pictures a second of each way, a value a round, and what the collector was sent."""

    per_second: dict[str, list[float]]
    received: dict[str, int]

    def ratios(self, way: str) -> Spread:
        """To `OFF`, taken within each round."""
        return spread(value / off for value, off in zip(self.per_second[way], self.per_second[OFF], strict=True))


def run(plan: TelemetryPlan, repository: Repository) -> None:
    """Measure, print, and write `bench-telemetry.json` and `bench-telemetry.md`.

    Raises `StartupError` where the service cannot start, or a request fails.
    """
    with sigterm_as_exit(), tempfile.TemporaryDirectory() as folder:
        found = _measure(plan, repository, Path(folder))
    plan.out.mkdir(parents=True, exist_ok=True)
    record = {"machine": asdict(machine.describe()), "plan": {**asdict(plan), "out": str(plan.out)}, **asdict(found)}
    (plan.out / "bench-telemetry.json").write_text(json.dumps(record, indent=1) + "\n")
    text = "\n".join([*_words(plan, found), ""])
    (plan.out / "bench-telemetry.md").write_text(text)
    Console(soft_wrap=True).print(text, markup=False, highlight=False)
    console.print(f"wrote {plan.out}/bench-telemetry.json and {plan.out}/bench-telemetry.md")


def _measure(plan: TelemetryPlan, repository: Repository, folder: Path) -> Found:
    workload = pictures.workloads(repository.models_dir / repository.model, 8)[0]
    with ExitStack() as children:
        receiver = children.enter_context(Child("receiver", ["benchmarks.otlp_receiver"], folder, talks=True))
        url = f"http://{load.HOST}:{json.loads(receiver.listen())['port']}"
        servers = {way: _server(way, variables, repository, folder, children) for way, variables in _ways(url)}
        per_second: dict[str, list[float]] = {way: [] for way in servers}
        for number in range(plan.rounds):
            for way in _turn(list(servers), number):
                console.print(f"round {number + 1} of {plan.rounds}: {way} ...")
                per_second[way].append(_slice(servers[way], workload, plan))
        return Found(per_second, json.loads(receiver.ask("")))


def _ways(collector: str) -> Iterator[tuple[str, dict[str, str]]]:
    yield OFF, {**_NOTHING, "OTEL_SDK_DISABLED": "true", "ROO_LOG_LEVEL": "warning"}
    yield LOCAL, _NOTHING
    interval = {"OTEL_METRIC_EXPORT_INTERVAL": str(_EXPORT_SECONDS * 1000)}
    exported = {**_NOTHING, **_SAMPLED, **interval, "OTEL_EXPORTER_OTLP_ENDPOINT": collector}
    yield EXPORTED, {**exported, "OTEL_LOGS_EXPORTER": "none"}
    yield ALL, exported


def _turn(ways: list[str], number: int) -> list[str]:
    """Who is first changes: a machine that grows slower hits all alike."""
    first = number % len(ways)
    return ways[first:] + ways[:first]


def _server(way: str, variables: dict[str, str], repository: Repository, folder: Path, children: ExitStack) -> Server:
    options = ["--host", load.HOST, "--port", "0", "--models-dir", str(repository.models_dir.absolute())]
    command = ["app", "serve", *options, "--device", repository.device]
    child = children.enter_context(Child(way, command, folder, environment=environment_with(**variables)))
    return Server(way, child, READY_PATH, f"/v1/models/{repository.model}/predict?read_barcodes=false")


def _slice(server: Server, workload: Workload, plan: TelemetryPlan) -> float:
    measured = server.measure(workload, plan.concurrency, min(_WARM_SECONDS, plan.seconds / 4), plan.seconds)
    if measured.errors:
        raise StartupError(f"{measured.errors} requests failed with telemetry {server.name}: {measured.first_error}")
    return measured.per_second


def _words(plan: TelemetryPlan, found: Found) -> list[str]:
    lines = [
        f"| telemetry, {plan.rounds} rounds of {plan.seconds:g} s, {plan.concurrency} requests in flight "
        "| pictures/s | to off |",
        "| --- | --- | --- |",
    ]
    for way, values in found.per_second.items():
        rate, ratio = spread(values), found.ratios(way)
        lines.append(
            f"| {way} | {rate.median:.0f} ({rate.low:.0f}-{rate.high:.0f}) "
            f"| {ratio.median:.3f} ({ratio.low:.2f}-{ratio.high:.2f}) |"
        )
    verdict = "reached" if found.ratios(EXPORTED).median >= WANTED else "missed"
    sent = ", ".join(f"{name}: {count:,}" for name, count in sorted(found.received.items()))
    aim = f"Wanted of what is exported without log lines: {WANTED:g}; {verdict}."
    return [*lines, "", f"{aim} The collector was sent {sent or 'nothing'}."]


def measure(
    seconds: Annotated[float, typer.Option(min=0.05, help="Length of a slice.")] = 3.0,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 10,
    concurrency: Annotated[int, typer.Option(min=1, max=1024, help="Requests in flight.")] = 32,
    out: Out = Path("out/bench"),
    model: Model = None,
    models_dir: ModelsDir = None,
    device: Device = None,
) -> None:
    """Measure what telemetry costs: off, as it comes, and exported with a tenth of all traces."""
    settings = load_settings(models_dir=models_dir, device=device)
    repository = Repository(settings.models_dir, choose_model(settings, model), settings.device)
    run(TelemetryPlan(seconds, rounds, concurrency, out), repository)


if __name__ == "__main__":
    start(measure)
