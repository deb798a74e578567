"""The types that the page's modules say in comments, checked by TypeScript."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from app.api.console.routes import FOLDER as STATIC

FOLDER = Path(__file__).parent


def compiler() -> list[str]:
    """The command of TypeScript's compiler, put in its place where it is missing; skips the test where there is no
    Node.js, and fails it in CI.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if (node is None or npm is None) and os.environ.get("CI"):
        pytest.fail("Node.js is missing")
    if node is None or npm is None:
        pytest.skip("Node.js is not installed")
    found = FOLDER / "node_modules" / "typescript" / "bin" / "tsc"
    if not found.is_file():
        subprocess.run([npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=FOLDER, check=True)
    return [node, str(found)]


def test_the_modules_keep_their_types() -> None:
    checked = subprocess.run([*compiler(), "-p", FOLDER], capture_output=True, text=True, timeout=120, check=False)
    assert checked.stdout == ""
    assert checked.returncode == 0


def test_every_module_is_checked_and_every_sentence_used() -> None:
    modules = {path.name: path.read_text() for path in STATIC.glob("*.js")}
    assert [name for name, text in modules.items() if not text.startswith("// @ts-check\n")] == []
    sentences = re.findall(r"^  (\w+): ", modules["texts.js"], re.MULTILINE)
    page = (STATIC / "page.html").read_text()
    used = set(re.findall(r"\btexts\.(?!js\b)(\w+)", "".join(modules.values())))
    used |= set(re.findall(r'data-(?:text|label)="(\w+)"', page))
    assert used == set(sentences)
