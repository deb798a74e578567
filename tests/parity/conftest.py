"""Without the families' packages there is nothing to compare with, and nothing here is collected."""

import importlib.util
import os

import pytest

from tests.parity.agreement import Figures

REQUIRED = bool(os.environ.get("REQUIRE_PARITY"))
"""Set by `make test-parity`, where a missing package is a failure."""

collect_ignore_glob = [] if REQUIRED or importlib.util.find_spec("transformers") else ["test_*.py"]

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
