"""`make bench-queue`: runs the queue's scenarios, some beside an earlier commit, and writes down what came of them."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
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
from benchmarks import queue_chaos, queue_losses, queue_scenarios, queue_words
from benchmarks.command_line import Device, Model, ModelsDir, Out, Quick, start
from benchmarks.queue_losses import DESTINATIONS, Cut, Restarts, Robots
from benchmarks.queue_stage import Bus, Repository, Stage
from benchmarks.states import NOW, State, state_before

console = Console(stderr=True)

BEFORE = "c5dee84"
LOCK_SECONDS, LOSS_LOCK_SECONDS = 60, 30

Found = dict[str, dict[str, Any]]
"""Figures by scenario and state of the code."""


@dataclass(frozen=True, slots=True)
class QueuePlan:
    """How long each scenario takes. `parts` are those that are run; `out` is the folder for the figures."""

    parts: tuple[str, ...]
    before: str
    rounds: int
    seconds: float
    messages: int
    backlog: int
    restarts: int
    spike_seconds: float
    chaos_messages: int
    chaos_kills: int
    out: Path


PARTS = ("throughput", "cut", "restarts", "robots", "spike", "people", "chaos")
_OF_NOW = ("spike", "people", "chaos")
"""Parts that are run with the present code alone."""


def make_plan(
    parts: str, before: str, spike_minutes: float, chaos_messages: int, out: Path, *, quick: bool
) -> QueuePlan:
    """A plan from the command line's options; raises `StartupError` where `parts` names none that there is."""
    wanted = tuple(part.strip() for part in parts.split(",") if part.strip())
    if not wanted or not set(wanted) <= set(PARTS):
        raise StartupError(f"--parts {parts!r}: there are {', '.join(PARTS)}.")
    return QueuePlan(
        parts=wanted,
        before=before,
        rounds=1 if quick else 3,
        seconds=2.0 if quick else 20.0,
        messages=100 if quick else 800,
        backlog=140 if quick else 700,
        restarts=2 if quick else 10,
        spike_seconds=5.0 if quick else spike_minutes * 60,
        chaos_messages=300 if quick else chaos_messages,
        chaos_kills=1 if quick else 5,
        out=out,
    )


def run(plan: QueuePlan, repository: Repository) -> None:
    """Run the scenarios one after the other; raises `StartupError` where the service cannot."""
    with sigterm_as_exit(), tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as opened:
        states = [opened.enter_context(state_before(plan.before))] if plan.before else []
        states.append(NOW)
        run_ = _Run(plan, repository, Path(folder), states)
        found: Found = {}
        for part in plan.parts:
            console.print(f"{part} ...")
            found[part] = asyncio.run(run_.part(part, found))
            _write(plan, found)  # what was measured is there even if the next part fails
    Console(soft_wrap=True).print("\n".join(_words(found)), markup=False, highlight=False)
    console.print(f"wrote {plan.out}/bench-queue.json and {plan.out}/bench-queue.md")


def _write(plan: QueuePlan, found: Found) -> None:
    plan.out.mkdir(parents=True, exist_ok=True)
    figures = {part: {state: asdict(each) for state, each in states.items()} for part, states in found.items()}
    record = {"machine": asdict(machine.describe()), **figures}
    (plan.out / "bench-queue.json").write_text(json.dumps(record, indent=1) + "\n")
    (plan.out / "bench-queue.md").write_text("\n".join(_words(found)))


class _Run:
    """All parts of a plan, with the states of the code that it compares."""

    def __init__(self, plan: QueuePlan, repository: Repository, folder: Path, states: Sequence[State]) -> None:
        self._plan = plan
        self._repository = repository
        self._folder = folder
        self._states = states
        self._pictures = pictures.workloads(repository.models_dir / repository.model, 8)[0].pictures

    async def part(self, part: str, known: Found) -> dict[str, Any]:
        """One part's figures, by state; `known` are those of the parts before."""
        if part == "throughput":
            return await self._throughput()
        states = [NOW] if part in _OF_NOW else self._states
        return {state.name: await self._part(part, state, known) for state in states}

    async def _throughput(self) -> dict[str, Any]:
        plan = self._plan
        with self._bus(LOCK_SECONDS) as bus:
            stages = [self._stage(bus, state) for state in self._states]
            rates = await queue_scenarios.throughput(stages, plan.rounds, plan.seconds / 3, plan.messages)
        return {state.name: each for state, each in zip(self._states, rates, strict=True)}

    async def _part(self, part: str, state: State, known: Found) -> Any:
        plan = self._plan
        match part:
            case "cut":
                with self._staged(state, LOSS_LOCK_SECONDS) as stage:
                    found = Cut(plan.backlog, [], [], [])
                    for _ in range(plan.rounds):
                        await queue_losses.cut(stage, plan.backlog, found)
                return found
            case "restarts":
                with self._staged(state, LOSS_LOCK_SECONDS) as stage:
                    return await queue_losses.restarts(stage, plan.restarts)
            case "robots":
                with self._staged(state, LOSS_LOCK_SECONDS, DESTINATIONS) as stage:
                    grown = [await queue_losses.robots(stage, plan.messages // 2) for _ in range(plan.rounds)]
                return Robots(len(DESTINATIONS), grown)
            case "spike":
                with self._staged(state, LOCK_SECONDS) as stage:
                    return await queue_scenarios.spike(stage, plan.spike_seconds)
            case "people":
                rates = known.get("throughput", {}).get(NOW.name)
                per_second = spread(rates.queue).median if rates else 50.0
                with self._staged(state, LOCK_SECONDS) as stage:
                    return await queue_scenarios.people(stage, plan.seconds, per_second)
            case _:
                with self._staged(state, queue_chaos.LOCK_SECONDS, queue_chaos.OTHERS) as stage:
                    return await queue_chaos.chaos(stage, plan.chaos_messages, plan.chaos_kills)

    @contextlib.contextmanager
    def _staged(self, state: State, lock_seconds: float, others: Sequence[str] = ()) -> Iterator[Stage]:
        with self._bus(lock_seconds, others) as bus:
            yield self._stage(bus, state)

    def _bus(self, lock_seconds: float, others: Sequence[str] = ()) -> Bus:
        return Bus(self._folder, lock_seconds, others)

    def _stage(self, bus: Bus, state: State) -> Stage:
        return Stage(bus, self._repository, self._pictures, self._folder, state)


def _words(found: Found) -> list[str]:
    lines = queue_words.throughput(found["throughput"]) if "throughput" in found else []
    cuts: dict[str, Cut] = found.get("cut", {})
    restarts: dict[str, Restarts] = found.get("restarts", {})
    robots: dict[str, Robots] = found.get("robots", {})
    if cuts or restarts or robots:
        lines += queue_words.losses(cuts, restarts, robots)
    for part, words in (("people", queue_words.people), ("spike", queue_words.spike), ("chaos", queue_words.chaos)):
        if part in found:
            lines += words(found[part][NOW.name])
    return [*lines, ""]


def measure(
    parts: Annotated[str, typer.Option(help="Which, with commas between.")] = ",".join(PARTS),
    before: Annotated[str, typer.Option(help="Commit to compare with; empty for none.")] = BEFORE,
    spike_minutes: Annotated[float, typer.Option(min=0.1, help="Length of the spike of 800 messages a minute.")] = 10,
    chaos_messages: Annotated[int, typer.Option(min=100, help="Messages that the chaos takes.")] = 5000,
    out: Out = Path("out/bench"),
    quick: Quick = False,
    model: Model = None,
    models_dir: ModelsDir = None,
    device: Device = None,
) -> None:
    """Measure the queue: throughput beside HTTP, losses, a spike, people beside robots, chaos; and an older commit."""
    planned = make_plan(parts, before, spike_minutes, chaos_messages, out, quick=quick)
    settings = load_settings(models_dir=models_dir, device=device)
    run(planned, Repository(settings.models_dir, choose_model(settings, model), settings.device))


if __name__ == "__main__":
    start(measure)
