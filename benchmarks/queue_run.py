"""`make bench-queue`: runs the queue's scenarios and writes down what came of them."""

import asyncio
import json
import tempfile
from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from app.bench import machine, pictures
from app.bench.measurements import spread
from app.bench.processes import sigterm_as_exit
from app.bench.run import choose_model
from app.errors import StartupError
from app.settings import load_settings
from benchmarks import queue_scenarios
from benchmarks.command_line import Device, Model, ModelsDir, Out, Quick, start
from benchmarks.queue_scenarios import Chaos, People, Spike, Throughput
from benchmarks.queue_stage import Bus, Repository, Stage

console = Console(stderr=True)

LOCK_SECONDS, CHAOS_LOCK_SECONDS = 60, 8
MAX_DELIVERY, CHAOS_MAX_DELIVERY = 10, 50


@dataclass(frozen=True, slots=True)
class QueuePlan:
    """How long each scenario takes. `parts` are those that are run; `out` is the folder for the figures."""

    parts: tuple[str, ...]
    rounds: int
    seconds: float
    messages: int
    spike_seconds: float
    chaos_messages: int
    chaos_kills: int
    out: Path


PARTS = ("throughput", "spike", "people", "chaos")


def make_plan(parts: str, spike_minutes: float, chaos_messages: int, out: Path, *, quick: bool) -> QueuePlan:
    """A plan from the command line's options; raises `StartupError` where `parts` names none that there is."""
    wanted = tuple(part.strip() for part in parts.split(",") if part.strip())
    if not wanted or not set(wanted) <= set(PARTS):
        raise StartupError(f"--parts {parts!r}: there are {', '.join(PARTS)}.")
    return QueuePlan(
        parts=wanted,
        rounds=1 if quick else 3,
        seconds=2.0 if quick else 20.0,
        messages=100 if quick else 800,
        spike_seconds=5.0 if quick else spike_minutes * 60,
        chaos_messages=300 if quick else chaos_messages,
        chaos_kills=1 if quick else 5,
        out=out,
    )


def run(plan: QueuePlan, repository: Repository) -> None:
    """Run the scenarios one after the other; raises `StartupError` where the service cannot."""
    with sigterm_as_exit(), tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(_run(plan, repository, Path(folder)))
    plan.out.mkdir(parents=True, exist_ok=True)
    described = machine.describe()
    record = {"machine": asdict(described), **{part: asdict(result) for part, result in found.items()}}
    (plan.out / "bench-queue.json").write_text(json.dumps(record, indent=1) + "\n")
    text = "\n".join([*(line for part, result in found.items() for line in _WORDS[part](result)), ""])
    (plan.out / "bench-queue.md").write_text(text)
    Console(soft_wrap=True).print(text, markup=False, highlight=False)
    console.print(f"wrote {plan.out}/bench-queue.json and {plan.out}/bench-queue.md")


async def _run(plan: QueuePlan, repository: Repository, folder: Path) -> dict[str, Any]:
    workload = pictures.workloads(repository.models_dir / repository.model, 8)[0]
    found: dict[str, Any] = {}
    for part in plan.parts:
        console.print(f"{part} ...")
        chaotic = part == "chaos"
        lock, deliveries = (CHAOS_LOCK_SECONDS, CHAOS_MAX_DELIVERY) if chaotic else (LOCK_SECONDS, MAX_DELIVERY)
        with Bus(folder, lock, deliveries) as bus:
            stage = Stage(bus, repository, workload.pictures, folder)
            found[part] = await _scenario(part, stage, plan, found)
    return found


def _scenario(part: str, stage: Stage, plan: QueuePlan, found: dict[str, Any]) -> Awaitable[Any]:
    match part:
        case "throughput":
            return queue_scenarios.throughput(stage, plan.rounds, plan.seconds / 3, plan.messages)
        case "spike":
            return queue_scenarios.spike(stage, plan.spike_seconds)
        case "people":
            known = found.get("throughput")
            return queue_scenarios.people(stage, plan.seconds, spread(known.queue).median if known else 50.0)
        case _:
            return queue_scenarios.chaos(stage, plan.chaos_messages, plan.chaos_kills)


def _throughput_words(found: Throughput) -> list[str]:
    http, queue, ratio = spread(found.http), spread(found.queue), spread(found.ratios)
    return [
        "| throughput, pictures a second | HTTP, 32 at once | queue | queue / HTTP |",
        "| --- | --- | --- | --- |",
        f"| median ({len(found.http)} rounds) | {http.median:.0f} | {queue.median:.0f} | {ratio.median:.2f} |",
        f"| range | {http.low:.0f}-{http.high:.0f} | {queue.low:.0f}-{queue.high:.0f} "
        f"| {ratio.low:.2f}-{ratio.high:.2f} |",
        "",
    ]


def _spike_words(found: Spike) -> list[str]:
    return [
        "| spike: 800 messages a minute | |",
        "| --- | --- |",
        f"| sent in {found.seconds:.0f} s | {found.sent} |",
        f"| results, lost, doubled | {found.results}, {found.sent - found.results}, {found.doubled} |",
        f"| largest backlog, messages | {found.most_backlog} |",
        f"| age of a result, s: p50, p99, most | {found.p50_age:.2f}, {found.p99_age:.2f}, {found.most_age:.2f} |",
        "",
    ]


def _people_words(found: People) -> list[str]:
    return [
        "| people beside robots | alone | beside a full queue | ratio |",
        "| --- | --- | --- | --- |",
        f"| interactive p50, ms (5 requests a second) | {found.alone_p50_ms:.1f} | {found.beside_p50_ms:.1f} "
        f"| {found.beside_p50_ms / found.alone_p50_ms:.2f} |",
        f"| interactive p99, ms | {found.alone_p99_ms:.1f} | {found.beside_p99_ms:.1f} "
        f"| {found.beside_p99_ms / found.alone_p99_ms:.2f} |",
        f"| messages a second | {found.bulk_alone:.0f} | {found.bulk_beside:.0f} "
        f"| {found.bulk_beside / found.bulk_alone:.2f} |",
        "",
    ]


def _chaos_words(found: Chaos) -> list[str]:
    return [
        "| chaos | |",
        "| --- | --- |",
        f"| messages, poison among them | {found.sent + found.poison}, {found.poison} |",
        f"| connections cut, workers killed | {found.cuts} times, {found.kills} |",
        f"| distinct results | {found.distinct_results} |",
        f"| repeated results that duplicate detection dropped | {found.repeated_results_dropped} |",
        f"| dead letters, poison among them | {found.dead_letters}, {found.dead_letters_that_are_poison} |",
        f"| left over | {found.left_over} |",
        f"| seconds | {found.seconds:.0f} |",
        "",
    ]


_WORDS: dict[str, Any] = {
    "throughput": _throughput_words,
    "spike": _spike_words,
    "people": _people_words,
    "chaos": _chaos_words,
}


def measure(
    parts: Annotated[str, typer.Option(help="Which, with commas between.")] = ",".join(PARTS),
    spike_minutes: Annotated[float, typer.Option(min=0.1, help="Length of the spike of 800 messages a minute.")] = 10,
    chaos_messages: Annotated[int, typer.Option(min=100, help="Messages that the chaos takes.")] = 5000,
    out: Out = Path("out/bench"),
    quick: Quick = False,
    model: Model = None,
    models_dir: ModelsDir = None,
    device: Device = None,
) -> None:
    """Measure the queue: throughput beside HTTP, a spike, people beside robots, and chaos."""
    planned = make_plan(parts, spike_minutes, chaos_messages, out, quick=quick)
    settings = load_settings(models_dir=models_dir, device=device)
    run(planned, Repository(settings.models_dir, choose_model(settings, model), settings.device))


if __name__ == "__main__":
    start(measure)
