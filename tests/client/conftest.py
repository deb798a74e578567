"""Both clients, so that every test asks with either."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from app.client import AsyncClient, Client

Connect = Callable[..., AbstractContextManager[Any]]


class _Waiting:
    """An `AsyncClient` whose methods wait for themselves."""

    def __init__(self, client: AsyncClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *arguments, **named: self._runner.run(method(*arguments, **named))


@contextmanager
def waiting(url: str, **settings: Any) -> Iterator[_Waiting]:
    with asyncio.Runner() as runner:
        client = _Waiting(AsyncClient(url, **settings), runner)
        try:
            yield client
        finally:
            client.close()


@pytest.fixture(params=[Client, waiting], ids=["Client", "AsyncClient"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Takes what the clients take; gives one whose methods block."""
    found: Connect = request.param
    return found
