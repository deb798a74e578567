"""Print the tables and draw the plot."""

import sys
from importlib.util import find_spec
from pathlib import Path

from benchmarks.scaling import tables
from benchmarks.scaling.shipped import ROOT
from benchmarks.scaling.simulation import worst


def plot(path: Path) -> None:
    """Backlog, age and replicas over time, for three spikes where nodes are there, and where none is."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = list(tables.SPIKES)
    figure, axes = plt.subplots(3, len(names), figsize=(11, 6), sharex=True, constrained_layout=True)
    colours = {"AKS, nodes there": "#2f5597", "AKS, no node there": "#c44e52", "Container Apps": "#55a868"}
    for column, name in enumerate(names):
        axes[0][column].set_title(name)
        axes[1][column].axhline(tables.AIM_SECONDS, color="grey", linewidth=0.8, linestyle=":")
        axes[2][column].set_xlabel("minutes")
        for place, colour in colours.items():
            moments = worst(tables.places()[place], tables.SPIKES[name])
            times = [moment.time / 60 for moment in moments]
            axes[0][column].plot(times, [moment.backlog for moment in moments], color=colour, label=place)
            axes[1][column].plot(times, [moment.age for moment in moments], color=colour)
            axes[2][column].yaxis.get_major_locator().set_params(integer=True)
            axes[2][column].step(times, [moment.paid for moment in moments], color=colour)
    for row, label in enumerate(("messages waiting", "oldest, seconds", "replicas called")):
        axes[row][0].set_ylabel(label)
    axes[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=80, metadata={"Software": None})


def main() -> None:
    """Print the tables and draw the plot."""
    for rows in tables.TABLES:
        sys.stdout.write(f"{tables.markdown(rows())}\n")
    if find_spec("matplotlib") is None:
        sys.exit("No plot, which needs matplotlib: pip install 'roo-vision[bench]'.")
    plot(ROOT / "docs" / "images" / "scaling.png")


if __name__ == "__main__":
    main()
