"""A service with models of every task and an identity graph of every datatype."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.protocol import add_protocol_models, serving_protocol
from tests.fixtures.server import Server


@pytest.fixture(scope="session")
def protocol_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `add_protocol_models` adds."""
    root = tmp_path_factory.mktemp("protocol")
    add_protocol_models(root)
    return root


@pytest.fixture(scope="session")
def protocol_server(protocol_models: Path) -> Iterator[Server]:
    """One running service for all tests of the protocol that do not change it."""
    with serving_protocol(protocol_models) as running:
        yield running
