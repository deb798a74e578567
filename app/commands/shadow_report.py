"""`roo-vision models shadow-report`: the pictures about which two versions differ most, worst first."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from app.commands.summary import printable, summary
from app.errors import StartupError

console = Console()


Pairs = dict[Path, list[dict[str, Any]]]
"""What is kept of each pair of versions, worst first, by its folder."""


def read(folder: Path) -> Pairs:
    """What `ROO_SHADOW_DIR` holds; raises `StartupError` where that is nothing."""
    pairs = {path: _read(path) for path in sorted({file.parent for file in folder.glob("*/*-*/*.json")})}
    if not pairs:
        raise StartupError(
            f"{folder} holds no pictures. They come with `shadow` in a model.yaml and ROO_SHADOW_DIR set to this "
            "folder, and once the versions differ about one."
        )
    return pairs


def show(pairs: Pairs, *, as_json: bool) -> None:
    """Print it."""
    if as_json:
        told = [{**found, "picture": str(path / found["picture"])} for path, each in pairs.items() for found in each]
        console.print_json(json.dumps(told))
        return
    for path, each in pairs.items():
        console.print(_table(path, each))


def _read(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))]


def _table(folder: Path, found: list[dict[str, Any]]) -> Table:
    first = found[0]
    sent, candidate = first["sent_version"], first["candidate_version"]
    title = f"{first['model']}: version {sent} sent, version {candidate} compared ({len(found)} pictures in {folder})"
    columns = ("agree", "lost", "gained", "changed", "shift", f"version {sent}", f"version {candidate}", "picture")
    table = Table(*columns, title=printable(title))
    for each in found:
        counts = [str(each[kind]) for kind in ("lost", "gained", "changed")]
        answers = [summary(each[side]) for side in ("sent", "candidate")]
        table.add_row(f"{each['agreement']:.2f}", *counts, f"{each['largest_shift']:.2f}", *answers, each["picture"])
    return table
