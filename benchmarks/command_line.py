"""What the benchmarks' command lines have in common: options, exit codes, errors of one line."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from app.commands.common import CANNOT_START, FAILED, OK, Device, ModelsDir
from app.errors import RooError

__all__ = ["FAILED", "OK", "Device", "Model", "ModelsDir", "Out", "Quick", "start"]

Out = Annotated[Path, typer.Option(help="Folder for the figures.")]
Quick = Annotated[bool, typer.Option("--quick", help="Seconds in all: shows that it works, not how fast.")]
Model = Annotated[str | None, typer.Option(help="Model to measure; the default one where left out.")]


def start(command: Callable[..., None]) -> None:
    """Run `command` with the command line's options; errors are one readable message, never a traceback."""
    cli = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    cli.command()(command)
    try:
        cli()
    except RooError as error:
        typer.echo(f"{Path(sys.argv[0]).stem}: {error}", err=True)
        sys.exit(CANNOT_START)
