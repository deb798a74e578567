"""The results as one picture: throughput (beside others as a ratio to the first of them), and latencies."""

import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from app.bench.measurements import SERVICE, Row, Spread, rivals, summarise
from app.bench.results import Results

BLUE, OTHERS = "#1f6fb4", ("#8a9199", "#d98032", "#5b9a68", "#8e6bb0")
"""The service's colour, and those of what it is measured beside."""
INK, FAINT = "#22272e", "#d5d9de"
BAR = 0.36
DPI = 150


def write(results: Results, path: Path) -> str:
    """Write a PNG where matplotlib is installed; returns what to tell the user."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        return "no plot, which needs matplotlib: pip install 'roo-vision[bench]'"
    rows = summarise(results.slices)
    sizes = list(dict.fromkeys(row.size for row in rows))
    with mpl.rc_context(style()):
        figure = Figure(figsize=(5.2 * len(sizes) + 0.4, 7.8), layout="constrained")
        axes = figure.subplots(2, len(sizes), sharey="row", squeeze=False)
        for column, size in enumerate(sizes):
            own = [row for row in rows if row.size == size]
            _throughput(axes[0][column], own)
            _latency(axes[1][column], own)
            axes[0][column].set_title(f"{size} JPEG", loc="left", fontweight="bold")
            axes[1][column].set_xlabel("requests in flight")
        base = next(iter(rivals(results.slices)), None)
        axes[0][0].set_ylabel("pictures a second" if base is None else f"throughput, {base} = 1")
        axes[1][0].set_ylabel("latency in ms (log): ● p50, — p99")
        handles, labels = axes[1][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), frameon=False)
        figure.suptitle(_title(results), x=0.012, ha="left", fontsize=9.5, color=INK)
        figure.savefig(path, dpi=DPI)
    return f"wrote {path}"


def _title(results: Results) -> str:
    machine = results.machine
    return (
        f"Roo Vision, model {results.model} · {machine.cpu}, {machine.cores} cores\n"
        f"median of the rounds ({results.plan['rounds']}); whiskers from the lowest to the highest"
    )


def style() -> Any:
    """How all plots look."""
    return {
        "font.size": 9,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": FAINT,
        "grid.linewidth": 0.6,
        "xtick.color": INK,
        "ytick.color": INK,
    }


def _colours(rows: Sequence[Row]) -> dict[str, str]:
    others = [name for name in dict.fromkeys(row.contender for row in rows) if name != SERVICE]
    return {**dict(zip(others, cycle(OTHERS), strict=False)), SERVICE: BLUE}


def _throughput(axes: Any, rows: Sequence[Row]) -> None:
    """Bars for the median, with a whisker from its lowest to its highest round and the median beside it.

    Ratios to the first that the service is measured beside, which is a line; pictures a second where it is alone.
    """
    colours = _colours(rows)
    base, *others = [*colours] if len(colours) > 1 else ["", SERVICE]
    for index, contender in enumerate(others):
        shift = (index - (len(others) - 1) / 2) * BAR
        measured = [(place + shift, row) for place, row in enumerate(r for r in rows if r.contender == contender)]
        figures = [(place, row.ratios[base] if base else row.per_second) for place, row in measured]
        own = [(place, figure) for place, figure in figures if not math.isnan(figure.median)]
        axes.bar(
            [place for place, _ in own], [figure.median for _, figure in own], BAR * 0.94, color=colours[contender]
        )
        axes.vlines(
            [place for place, _ in own],
            [figure.low for _, figure in own],
            [figure.high for _, figure in own],
            color=INK,
            linewidth=1.1,
        )
        for place, figure in own:
            _tell_median(axes, place, figure, 2 if base else 0)
    if base:
        axes.axhline(1.0, color=colours[base], linewidth=1.4, linestyle=(0, (4, 2)))
    axes.margins(y=0.1)
    _in_flight(axes, rows)


def _tell_median(axes: Any, place: float, figure: Spread, digits: int) -> None:
    axes.annotate(
        f"{figure.median:.{digits}f}",
        (place, max(figure.high, figure.median)),
        (0, 4),
        textcoords="offset points",
        ha="center",
        fontweight="bold",
        bbox={"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none"},
    )


def _latency(axes: Any, rows: Sequence[Row]) -> None:
    """From p50 (dot) to p99 (tick), on a logarithmic scale."""
    colours = _colours(rows)
    for index, (contender, colour) in enumerate(colours.items()):
        own = [row for row in rows if row.contender == contender]
        places = [place + (index - (len(colours) - 1) / 2) * 0.24 for place in range(len(own))]
        p50, p99 = [row.p50_ms.median for row in own], [row.p99_ms.median for row in own]
        axes.vlines(places, p50, p99, color=colour, linewidth=2.2)
        axes.plot(places, p99, linestyle="none", marker="_", markersize=11, markeredgewidth=2.2, color=colour)
        axes.plot(places, p50, linestyle="none", marker="o", markersize=7, color=colour, label=contender)
        for place, low, high in zip(places, p50, p99, strict=True):
            for value, where, offset in ((low, "top", -6), (high, "bottom", 4)):
                if not math.isnan(value):
                    axes.annotate(
                        _ms(value),
                        (place, value),
                        (0, offset),
                        textcoords="offset points",
                        ha="center",
                        va=where,
                        fontsize=7.5,
                    )
    axes.set_yscale("log")
    axes.margins(y=0.14)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: "")
    _in_flight(axes, rows)


def _ms(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _in_flight(axes: Any, rows: Sequence[Row]) -> None:
    concurrencies = list(dict.fromkeys(row.concurrency for row in rows))
    axes.set_xticks(range(len(concurrencies)), [str(concurrency) for concurrency in concurrencies])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, len(concurrencies) - 0.4)
