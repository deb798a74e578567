"""The document names every option and every fault."""

from pathlib import Path

import pytest

from app.devbus.broker import Broker
from app.devbus.faults import Faults
from app.devbus.options import QUEUE_FORM
from app.devbus.status import StatusServer

DOCUMENT = (Path(__file__).parents[2] / "docs" / "devbus.md").read_text()
OPTIONS = [part.strip("[]").partition("=")[0] for part in QUEUE_FORM.removeprefix("NAME[,").split(",")]


@pytest.mark.parametrize("name", Faults().current())
def test_every_fault_is_documented(name: str) -> None:
    assert f"faults.set({name}=" in DOCUMENT


@pytest.mark.parametrize("name", OPTIONS)
def test_every_queue_option_is_documented(name: str) -> None:
    assert f"| `{name}" in DOCUMENT


@pytest.mark.parametrize(("method", "path"), StatusServer(Broker()).routes)
def test_every_route_is_documented(method: str, path: str) -> None:
    assert f"`{method} {path}" in DOCUMENT
