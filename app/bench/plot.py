"""The results as one picture: ratios to the plain loop, and latencies."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.bench.measurements import NAIVE, PLAIN, SERVICE, Row, summarise
from app.bench.results import Results

COLOURS = {PLAIN: "#8a9199", NAIVE: "#d98032", SERVICE: "#1f6fb4"}
INK, FAINT = "#22272e", "#d5d9de"
BAR = 0.36
DPI = 150


def write(results: Results, path: Path) -> str:
    """Write a PNG where matplotlib is installed; returns what to tell the user."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        return "no plot: matplotlib is not installed; pip install 'roo-vision[bench]' brings it"
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
        axes[0][0].set_ylabel("throughput, plain loop = 1")
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


def _throughput(axes: Any, rows: Sequence[Row]) -> None:
    """Bars for the ratio's median, with a whisker from its lowest to its highest round and the median beside it."""
    for contender, shift in ((NAIVE, -BAR / 2), (SERVICE, BAR / 2)):
        measured = [(place + shift, row) for place, row in enumerate(r for r in rows if r.contender == contender)]
        own = [(place, row.to_plain) for place, row in measured if not math.isnan(row.to_plain.median)]
        axes.bar([place for place, _ in own], [ratio.median for _, ratio in own], BAR * 0.94, color=COLOURS[contender])
        axes.vlines(
            [place for place, _ in own],
            [ratio.low for _, ratio in own],
            [ratio.high for _, ratio in own],
            color=INK,
            linewidth=1.1,
        )
        for place, ratio in own:
            top = (place, max(ratio.high, ratio.median))
            axes.annotate(
                f"{ratio.median:.2f}",
                top,
                (0, 4),
                textcoords="offset points",
                ha="center",
                fontweight="bold",
                bbox={"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none"},
            )
    axes.axhline(1.0, color=COLOURS[PLAIN], linewidth=1.4, linestyle=(0, (4, 2)))
    axes.margins(y=0.1)
    _in_flight(axes, rows)


def _latency(axes: Any, rows: Sequence[Row]) -> None:
    """From p50 (dot) to p99 (tick), on a logarithmic scale; the plain loop where one thread answers alone."""
    for index, contender in enumerate((PLAIN, NAIVE, SERVICE)):
        own = [row for row in rows if row.contender == contender]
        places = [place + (index - 1) * 0.24 for place in range(len(own))]
        colour = COLOURS[contender]
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
