"""Helm, as it is installed: its command, or its library (the package helm-python-sdk) in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.manifests import Document

RENDER = """
import json, sys, helm_python
with helm_python.Chart.load(sys.argv[1]) as chart:
    print("\\n---\\n".join(chart.render(json.load(open(sys.argv[2])), name="roo-vision", namespace="default").values()))
"""
LINT = """
import sys, helm_python
found = helm_python.lint(sys.argv[1], strict=True)
sys.exit("\\n".join([*found["errors"], *(each["error"] for each in found["messages"] if each["severity"] > 1)]) or 0)
"""


def render(chart: Path, values: dict[str, Any], folder: Path) -> list[Document]:
    """The documents that the chart makes of these values."""
    done = template(chart, values, folder)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def template(chart: Path, values: dict[str, Any], folder: Path) -> "subprocess.CompletedProcess[str]":
    """`helm template`; the values go by a file in `folder`."""
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    if shutil.which("helm"):
        return _run("helm", "template", "roo-vision", str(chart), "--values", str(file))
    return _library(RENDER, str(chart), str(file))


def lint(chart: Path) -> "subprocess.CompletedProcess[str]":
    """`helm lint --strict`."""
    return _run("helm", "lint", "--strict", str(chart)) if shutil.which("helm") else _library(LINT, str(chart))


def _library(script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    if not find_spec("helm_python"):
        missing = "neither helm nor the package helm-python-sdk is installed: the chart was NOT rendered"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return _run(sys.executable, "-c", script, *arguments)


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
