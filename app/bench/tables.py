"""The results as text: tables for the terminal and for docs/benchmarks.md."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from app.bench.measurements import SERVICE, Row, rivals, summarise
from app.bench.results import Results, Target, in_range, number

TARGET_HEAD = ("target", "wanted", "found", "")
MEMORY_HEAD = ("", "ready MB", "after load MB", "peak MB")


def print_results(results: Results, console: Console) -> None:
    """Everything worth reading, on a terminal."""
    console.print(_title(results), markup=False, highlight=False)
    rows = summarise(results.slices)
    for size in dict.fromkeys(row.size for row in rows):
        console.print(_size_table(size, [row for row in rows if row.size == size]))
    console.print(_grid(MEMORY_HEAD, _memory_cells(results)))
    console.print(_grid(TARGET_HEAD, [_target_cells(target, colour=True) for target in results.targets]))
    for note in _notes(results):
        console.print(note, markup=False, highlight=False)
    for error in results.errors:
        console.print(error, style="red", markup=False, highlight=False)


def to_markdown(results: Results) -> str:
    """The same as Markdown, to be pasted into docs/benchmarks.md."""
    machine = results.machine
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    parts = [
        f"Machine: {machine.cpu}, {machine.cores} usable cores, {machine.memory_gb:g} GB; {machine.system}; "
        f"Python {machine.python}; {packages}.",
        "\n".join(f"- {note}" for note in (_title(results), *_notes(results), *results.errors)),
        _markdown(_full_head(results), [_full_cells(row) for row in summarise(results.slices)]),
        _markdown(TARGET_HEAD, [_target_cells(target, colour=False) for target in results.targets]),
        _markdown(MEMORY_HEAD, _memory_cells(results)),
    ]
    if results.soak is not None:
        samples = results.soak.samples
        step = max(1, len(samples) // 10)
        parts.append(
            _markdown(
                ("requests answered", "resident MB"),
                [(f"{sample.answered:,}", f"{sample.resident_mb:.0f}") for sample in samples[::step]],
            )
        )
    return "\n\n".join(parts) + "\n"


def _title(results: Results) -> str:
    beside = bool(rivals(results.slices))
    return (
        f"{results.model}: rounds of {'alternating ' if beside else ''}slices of {results.plan['seconds']:g} s: "
        f"{results.plan['rounds']}; median (lowest-highest) of the rounds{', ratios within each round' * beside}"
    )


def _notes(results: Results) -> list[str]:
    notes = [
        *results.pictures,
        *results.notes,
        f"load generator: {results.generator_ms_per_picture:.2f} ms of CPU a picture, at most "
        f"{results.generator_share:.0%} of a core, on the same machine as the servers",
    ]
    if results.machine.load_before > 0.5:
        notes.append(
            f"the machine was not idle: load average {results.machine.load_before:.1f} before the run; trust the "
            "ratios more than the figures"
        )
    return notes


def _size_table(size: str, rows: Sequence[Row]) -> Table:
    """One size's rows, narrow enough for a terminal of 80 columns: ranges for the ratios to the first rival only."""
    table = Table(title=f"{size} JPEG", title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    ratios = [f"to {name}" for name in rows[0].ratios]
    for head in ("at once", "", "per s", *ratios, "p50 ms", "p99 ms", "CPU ms"):
        table.add_column(_folded(head), justify="left" if head == "" else "right", no_wrap=True)
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        first, *others = row.ratios.values() if row.ratios else (None,)
        table.add_row(
            str(row.concurrency),
            row.contender,
            number(row.per_second.median, _rate_digits(row)),
            *([] if first is None else [in_range(first), *(number(ratio.median, 2) for ratio in others)]),
            number(row.p50_ms.median),
            number(row.p99_ms.median),
            number(row.cpu_ms_per_picture),
            style="bold" if row.contender == SERVICE else "",
            end_section=following is None or following.concurrency != row.concurrency,
        )
    return table


def _folded(head: str) -> str:
    """A head's last word on a line of its own where it is long."""
    return "\n".join(head.rsplit(" ", 1)) if len(head) > 13 else head


def _full_head(results: Results) -> tuple[str, ...]:
    ratios = (f"to {name}" for name in rivals(results.slices))
    return ("pictures", "requests in flight", "", "pictures/s", *ratios, "p50 ms", "p99 ms", "CPU ms/picture", "errors")


def _full_cells(row: Row) -> tuple[str, ...]:
    return (
        row.size,
        str(row.concurrency),
        row.contender,
        in_range(row.per_second, _rate_digits(row)),
        *(in_range(ratio) for ratio in row.ratios.values()),
        in_range(row.p50_ms, 1),
        in_range(row.p99_ms, 1),
        number(row.cpu_ms_per_picture),
        str(row.errors),
    )


def _rate_digits(row: Row) -> int:
    return 0 if row.per_second.median >= 100 else 1


def _memory_cells(results: Results) -> list[tuple[str, ...]]:
    return [
        (name, f"{memory.ready_mb:.0f}", f"{memory.after_mb:.0f}", f"{memory.peak_mb:.0f}")
        for name, memory in results.memory.items()
    ]


def _target_cells(target: Target, *, colour: bool) -> tuple[str, ...]:
    verdict = {True: "met", False: "missed", None: "not measured"}[target.met]
    if colour and target.met is not None:
        verdict = f"[{'green' if target.met else 'red'}]{verdict}[/]"
    return target.what, target.wanted, target.found, verdict


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*head, box=box.SIMPLE_HEAD, padding=0)
    for row in rows:
        table.add_row(*row)
    return table


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
