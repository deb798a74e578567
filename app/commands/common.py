"""What the commands have in common: exit codes and options."""

from pathlib import Path
from typing import Annotated

import typer

OK, FAILED, CANNOT_START = 0, 1, 2
"""Exit codes: all went well; some pictures or models failed; wrong usage, settings or environment."""

CONNECT_SECONDS = 3.0
"""How long a service is tried at which nobody answers: who waits at a terminal has rather mistyped its address."""

ModelsDir = Annotated[
    Path | None,
    typer.Option("--models-dir", help="Model repository; ROO_MODELS_DIR, else ./models.", show_default=False),
]
Device = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda or cuda:N; ROO_DEVICE, else auto.", show_default=False)
]
