"""The sweep as one picture: pictures a second over the batch size, whole and without decoding."""

from pathlib import Path

from app.bench.plot import DPI, INK, style
from app.bench.sweep_results import SweepResults

COLOURS = ("#8a9199", "#1f6fb4", "#d98032", "#3a9a5b", "#a3488f", "#c2b21f", "#555555")


def write(results: SweepResults, path: Path) -> str:
    """Write a PNG where matplotlib is installed; returns what to tell the user."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        return "no plot, which needs matplotlib: pip install 'roo-vision[bench]'"
    lines = list(dict.fromkeys((point.engine, point.precision) for point in results.points))
    with mpl.rc_context(style()):
        figure = Figure(figsize=(10.0, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for colour, (engine, precision) in zip(COLOURS * 2, lines, strict=False):
            own = [point for point in results.points if (point.engine, point.precision) == (engine, precision)]
            sizes = [point.batch for point in own]
            label = f"{engine} {precision}"
            left.plot(sizes, [point.whole.median for point in own], marker="o", color=colour, label=label)
            right.plot(sizes, [point.network.median for point in own], marker="o", color=colour)
        for axes, title in ((left, "JPEG in, answer out"), (right, "network alone")):
            axes.set_title(title, loc="left", fontweight="bold")
            axes.set_xlabel("pictures in a batch")
            axes.set_xscale("log", base=2)
            sizes = sorted({point.batch for point in results.points})
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.minorticks_off()
            axes.set_ylim(bottom=0)
        left.set_ylabel("pictures a second")
        figure.legend(loc="outside upper right", ncols=len(lines), frameon=False)
        cores = f"{results.machine.cpu}, {results.machine.cores} cores"
        figure.suptitle(f"{results.model} · {cores}", x=0.012, ha="left", fontsize=9.5, color=INK)
        figure.savefig(path, dpi=DPI)
    return f"wrote {path}"
