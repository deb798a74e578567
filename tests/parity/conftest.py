"""Without torchvision there is nothing to compare with, and nothing here is collected."""

import importlib.util

import pytest

from tests.parity.agreement import Figures

collect_ignore_glob = [] if importlib.util.find_spec("torchvision") else ["test_*.py"]

FIGURES = pytest.StashKey[Figures]()


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Figures:
    """What was measured, by family; printed at the end."""
    return request.config.stash.setdefault(FIGURES, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A table of all that was measured."""
    measured = config.stash.get(FIGURES, {})
    if measured:
        terminalreporter.section("agreement with the families' own code")
        terminalreporter.write_line("family, and what was compared; as its manifest says; with reduce: auto")
    for name, (exact, reduced) in measured.items():
        terminalreporter.write_line(f"{name:28} {exact}   {reduced}")
