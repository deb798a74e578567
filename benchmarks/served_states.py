"""`make bench-states`: what a newcomer gets from the service, beside an earlier commit's, in alternating slices.

Each state's service is started as anybody would, with the bundled model of its own commit; a second one of each serves
a network that costs nothing, which shows what everything around a network costs.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.bench import load, machine, pictures
from app.bench.measurements import Measurement, Spread, cpu_ms, spread
from app.bench.processes import Child, sigterm_as_exit
from app.bench.results import in_range
from benchmarks import timed_models
from benchmarks.command_line import Out, Quick, start
from benchmarks.states import HERE, NOW, State, state_before

console = Console(stderr=True)

BEFORE = "c5dee84"
NULL_SIZE = (264, 200)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a service, with so many requests in flight."""

    name: str
    path: str
    pictures: list[bytes]
    in_flight: int
    of_null: bool = False


Slices = dict[str, dict[str, list[Measurement]]]
"""By question, then by state: one measurement a round."""


def bench_states(
    before: Annotated[str, typer.Option(help="Commit to compare with.")] = BEFORE,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured, in turns.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.05, help="Length of a slice.")] = 3.0,
    out: Out = Path("out/bench"),
    quick: Quick = False,
) -> None:
    """Measure the default answer of the bundled model, and a network that costs nothing, beside an earlier commit."""
    rounds, seconds = (1, 0.3) if quick else (rounds, seconds)
    questions = _questions()
    slices: Slices = {question.name: {} for question in questions}
    with sigterm_as_exit(), state_before(before) as earlier, _services((NOW, earlier)) as services:
        for number in range(rounds):
            for question in questions:
                console.print(f"round {number + 1} of {rounds}: {question.name}", style="dim")
                for state in (NOW, earlier) if number % 2 else (earlier, NOW):
                    child, port = services[state.name, question.of_null]
                    found = _ask(child, port, question, seconds)
                    slices[question.name].setdefault(state.name, []).append(found)
    words = _table(slices, NOW.name, before, seconds)
    _write(out, slices, words)
    Console().print(words, markup=False, highlight=False, soft_wrap=True)


def _questions() -> list[Question]:
    examples = pictures.workloads(HERE / "models" / "shelf", 8)[0].pictures
    small = [pictures.encode(".jpg", pictures.texture(*NULL_SIZE, seed)) for seed in range(8)]
    mean_kb = sum(map(len, small)) / len(small) / 1e3
    shelf, bare = "/v1/models/shelf/predict", "/v1/models/shelf/predict?read_barcodes=false"
    return [
        Question("default answer, 32 in flight", shelf, examples, 32),
        Question("without barcodes, 32 in flight", bare, examples, 32),
        Question("default answer, 1 in flight", shelf, examples, 1),
        Question("without barcodes, 1 in flight", bare, examples, 1),
        Question(f"a network that costs nothing, {mean_kb:.0f} kB JPEGs, 32 in flight", "/v1/predict", small, 32, True),
    ]


@contextlib.contextmanager
def _services(states: tuple[State, ...]) -> Iterator[Mapping[tuple[str, bool], tuple[Child, int]]]:
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as opened:
        null = Path(scratch) / "null"
        timed_models.add_model(null, "null", 0.0, max_size=16)
        yield {
            (state.name, of_null): opened.enter_context(state.serving(repository, Path(scratch)))
            for state in states
            for of_null, repository in ((False, HERE / "models"), (True, null))
        }


def _ask(child: Child, port: int, question: Question, seconds: float) -> Measurement:
    requests = [load.post(question.path, "image/jpeg", picture) for picture in question.pictures]
    target = load.Target(port, child.cpu_seconds)
    found = load.press(target, requests, question.in_flight, min(0.5, seconds / 4), seconds)
    child.check_alive()
    return found


def _table(slices: Slices, now: str, before: str, seconds: float) -> str:
    rounds = len(next(iter(slices.values()))[now])
    lines = [
        f"Rounds of alternating slices of {seconds:g} s: {rounds}; median (lowest-highest); ratios within each round.",
        "",
        f"| {now} beside {before} | pictures/s: {before} | {now} | ratio | p50 ms: {before} | {now} | ratio "
        f"| CPU ms a picture: {before} | {now} | errors |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, states in slices.items():
        old, new = states[before], states[now]
        cells = [
            name,
            *(f"{spread(found.per_second for found in several).median:.0f}" for several in (old, new)),
            in_range(_ratios(new, old, "per_second")),
            *(f"{spread(found.p50_ms for found in several).median:.1f}" for several in (old, new)),
            in_range(_ratios(new, old, "p50_ms")),
            *(f"{cpu_ms(several):.2f}" for several in (old, new)),
            f"{sum(found.errors for found in (*old, *new))}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    default, bare = (slices[f"{words}, 32 in flight"] for words in ("default answer", "without barcodes"))
    shares = [f"{state} {in_range(_ratios(default[state], bare[state], 'per_second'))}" for state in (before, now)]
    return "\n".join([*lines, "", f"Default answer to the same without barcodes, 32 in flight: {', '.join(shares)}."])


def _ratios(those: list[Measurement], to: list[Measurement], what: str) -> Spread:
    return spread(getattr(one, what) / getattr(other, what) for one, other in zip(those, to, strict=True))


def _write(out: Path, slices: Slices, words: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    plain = {
        name: {state: [asdict(found) for found in all_] for state, all_ in by.items()} for name, by in slices.items()
    }
    content = {"machine": asdict(machine.describe()), "slices": plain}
    (out / "bench-states.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / "bench-states.md").write_text(words + "\n")


if __name__ == "__main__":
    start(bench_states)
