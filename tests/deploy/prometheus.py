"""Prometheus and its promtool, where they are installed; in CI they must be."""

import os
import shutil
import subprocess

import pytest


def tool(name: str) -> str:
    """The path of `promtool` or `prometheus`; skips the test where it is missing, and fails it in CI."""
    found = shutil.which(name)
    if found is None and os.environ.get("CI"):
        pytest.fail(f"{name} is missing; Debian's package prometheus has it")
    if found is None:
        pytest.skip(f"{name} is not installed; Debian's package prometheus has it")
    return found


def promtool(*arguments: str, given: str | None = None) -> str:
    """Run promtool; what it printed, and a failed test where it found something wrong."""
    done = subprocess.run([tool("promtool"), *arguments], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
