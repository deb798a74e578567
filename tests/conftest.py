"""Fixtures that several rooms' tests share."""

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fixtures.models import add_box_model, add_colour_model
from tests.fixtures.server import Server, serving

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started with `&` in a script, or by some CI: what the tests interrupt would inherit that, and never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository: `colour` (versions 1 and 2, both served) and `box` (detection)."""
    root = tmp_path_factory.mktemp("models")
    add_colour_model(root, versions=("1", "2"), versions_served=["1", "2"])
    add_box_model(root)
    return root


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[Server]:
    """One running service for all tests that do not change it."""
    settings = {"max_image_bytes": 2**20, "max_body_bytes": 2**22, "max_pixels": 10**6, "max_images_per_request": 4}
    with serving(repository, default_model="colour", **settings) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of that service."""
    with server.client() as client:
        yield client
