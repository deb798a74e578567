"""Changing what a running service serves."""

import sys
from collections.abc import Sequence
from typing import Literal

import typer
from rich.console import Console

from app.client.errors import ServiceError
from app.commands.common import FAILED
from app.commands.running_service import client_of
from app.settings import load_settings

PATIENCE_SECONDS = 600.0
"""A large model takes minutes to be opened, behind everything that is answered meanwhile."""


def change(verb: Literal["load", "reload", "unload"], name: str, url: str) -> None:
    """Ask for it, wait, and say what was done; ends the program with `FAILED` where the service says no."""
    with client_of(url, load_settings(), PATIENCE_SECONDS) as client:
        asks = {"load": client.load_model, "reload": client.reload_model, "unload": client.unload_model}
        try:
            with Console(stderr=True).status(f"{verb} {name}: {url} answers when it is done"):
                done = asks[verb](name)
        except ServiceError as error:
            typer.echo(f"roo-vision: {error}", err=True)
            sys.exit(FAILED)
    typer.echo(f"{name}: {done.outcome}, {_answering(done.versions)}; {done.seconds:.2f} s")


def _answering(versions: Sequence[str]) -> str:
    if not versions:
        return "nothing of it answers"
    several = len(versions) > 1
    return f"version{'s' * several} {' and '.join(versions)} answer{'s' * (not several)}"
