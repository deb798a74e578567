"""`python -m app.devbus`: the same as `roo-vision devbus`."""

import sys

import typer

from app.devbus.command import devbus
from app.errors import RooError

if __name__ == "__main__":
    try:
        typer.run(devbus)
    except RooError as error:
        typer.echo(f"devbus: {error}", err=True)
        sys.exit(2)
