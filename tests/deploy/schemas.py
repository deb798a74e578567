"""Schemas of Azure's resources and of custom resources, where a folder with them is at hand (`SCHEMAS`, or beside the
repository in `shared/tools`); they are not part of the repository. The `deploy` workflow asks the real tools instead.
"""

import os
import re
import subprocess
import sys
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest

from tests.deploy.places import ROOT

LOOP = re.compile(r"\bfor (?:\((\w+), (\w+)\)|(\w+)) in ([^:\n]+): ")


def tools() -> Path:
    """The folder with the checkers and their schemas; skips the test where there is none."""
    named = os.environ.get("SCHEMAS")
    beside = [parent / "shared" / "tools" for parent in ROOT.parents]
    for folder in [Path(named)] if named else beside:
        if (folder / "schemas").is_dir():
            return folder
    _missing("no folder of schemas is at hand")


def _missing(what: str) -> NoReturn:
    if os.environ.get("REQUIRE_SCHEMAS"):
        pytest.fail(what)
    pytest.skip(f"{what}: declarations were NOT checked (the workflow asks the real tools)")


def check(checker: str, schemas: Path, file: Path) -> "subprocess.CompletedProcess[str]":
    """Run a checker of that folder on a file; skips the test where one of the packages that it needs is missing."""
    if not all(map(find_spec, ("jsonschema", "tree_sitter", "tree_sitter_bicep"))):
        _missing("tree-sitter, tree-sitter-bicep or jsonschema is not installed")
    command = [sys.executable, str(tools() / checker), str(schemas), str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def of_kinds(kinds: Collection[str], folder: Path) -> Path:
    """`folder`, with the schemas of these kinds of custom resources; to read those of all kinds takes seconds."""
    folder.mkdir()
    for path in (tools() / "schemas" / "crds").glob("*.yaml"):
        if any(f" kind: {kind}\n" in path.read_text() for kind in kinds):
            (folder / path.name).symlink_to(path)
    return folder


def unrolled(text: str) -> str:
    """A Bicep file with each loop as its body once, so that what is declared in loops is read too."""
    variables = {name: "0" for _, name, _, _ in LOOP.findall(text) if name}
    variables |= {first or only: of for first, _, only, of in LOOP.findall(text)}
    of_resources = re.sub(
        r"^(resource \w+ '[^']+' = )\[\n  for [^\n]+: \{\n(.*?)\n  \}\n\]$",
        r"\1{\n\2\n}",
        text,
        flags=re.MULTILINE | re.DOTALL,
    )
    declared = "\n".join(f"var {name} = {of}" for name, of in variables.items())
    return f"{LOOP.sub('', of_resources)}\n{declared}\n"


def declarations(text: str) -> int:
    """How many resources a Bicep file declares."""
    return len(re.findall(r"^resource ", text, re.MULTILINE))
