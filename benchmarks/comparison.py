"""`make bench`: the service beside a plain loop (its ceiling) and a naive endpoint, in alternating slices."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from app.bench import plan, run
from app.bench.run import Comparison
from app.errors import StartupError
from app.settings import load_settings
from benchmarks.command_line import FAILED, OK, Device, Model, ModelsDir, Out, Quick, start

NOTES = ("plain loop: a thread for each picture in flight, at most one a core",)


def compare(
    seconds: Annotated[
        float | None, typer.Option(min=0.05, help="Length of a slice; 3 where left out.", show_default=False)
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="How often each is measured; 5 where left out.", show_default=False)
    ] = None,
    concurrency: Annotated[str, typer.Option(help="Requests in flight, with commas between.")] = "1,8,32",
    soak: Annotated[int, typer.Option(min=0, help="Send so many requests of mixed sizes and watch the memory.")] = 0,
    out: Out = Path("out/bench"),
    quick: Quick = False,
    model: Model = None,
    models_dir: ModelsDir = None,
    device: Device = None,
) -> None:
    """Measure the service beside a plain loop (its ceiling) and a naive endpoint, in alternating slices."""
    planned = plan.make_plan(seconds=seconds, rounds=rounds, concurrency=concurrency, soak=soak, out=out, quick=quick)
    settings = load_settings(models_dir=models_dir, device=device)
    sys.exit(OK if run.run(planned, settings, model, _comparison()) else FAILED)


def _comparison() -> Comparison:
    if find_spec("PIL") is None:
        raise StartupError(
            "The naive endpoint decodes with Pillow, which is not installed: pip install 'roo-vision[bench]'."
        )
    from benchmarks import rivals, targets  # the naive endpoint's module needs Pillow

    return Comparison(rivals.start, targets.of_comparison, NOTES)


if __name__ == "__main__":
    start(compare)
