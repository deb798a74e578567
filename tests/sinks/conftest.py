"""The clients nap a lot; nothing that is tested here depends on how long."""

from tests.fixtures.hasty import HastyLoop


def pytest_asyncio_loop_factories() -> dict[str, type[HastyLoop]]:
    """All tests here run on a loop that shortens naps."""
    return {"hasty": HastyLoop}
