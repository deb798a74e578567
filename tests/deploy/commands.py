"""The commands that the documents show, and the Dockerfiles' context as `az acr build` packs it."""

import itertools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.places import ROOT

DOCUMENTS = ("README.md", "k8s/README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))


@dataclass(frozen=True)
class Build:
    """A documented `docker build` or `az acr build`: what it tags, from which file and folder, with which arguments."""

    place: str
    in_registry: bool
    tag: str
    dockerfile: str
    context: str
    arguments: dict[str, str]


def shown() -> list[tuple[str, str]]:
    """Every command of the documents' `sh` blocks and of containerapp.bicep's head as (where, command)."""
    found = []
    for name in DOCUMENTS:
        for block in re.findall(r"^```sh\n(.*?)^```", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(name, part.strip()) for line in lines for part in re.split(r" && |(?<!\S)#.*$", line)]
    head = re.findall(r"^//   (.+)$", (ROOT / "containerapp.bicep").read_text(), re.MULTILINE)
    return found + [("containerapp.bicep", line.partition("   (")[0].strip()) for line in head]


def builds() -> list[Build]:
    """Every documented build of an image."""
    return [
        _build(place, command) for place, command in shown() if command.startswith(("docker build ", "az acr build "))
    ]


def _build(place: str, command: str) -> Build:
    words = shlex.split(command)
    options: dict[str, list[str]] = {}
    for name, value in itertools.pairwise(words):
        if name.startswith("-"):
            options.setdefault(name, []).append(value)
    arguments = dict(value.split("=", 1) for value in options.get("--build-arg", []))
    file = options.get("-f", ["Dockerfile"])[0]
    return Build(place, words[0] == "az", options["-t"][0], file, words[-1], arguments)


def acr_context(rules: list[str], files: list[Path]) -> set[str]:
    """Which of these files, relative to the root, `az acr build` sends, by the rules of a .dockerignore.

    Its own reading of that file differs from Docker's: a rule is matched against whole paths, folder by folder, and a
    file without a match of its own does as its folder does, unless a later rule than its folder's matches.
    """
    patterns = [(not rule.startswith("!"), _pattern(rule.removeprefix("!"))) for rule in rules]

    def verdict(path: Path) -> tuple[bool, int]:
        ignored, above = (False, -1) if path == Path() else verdict(path.parent)
        for index in range(len(patterns) - 1, above, -1):
            if patterns[index][1].fullmatch("" if path == Path() else path.as_posix()):
                return patterns[index][0], index
        return ignored, above

    return {path.as_posix() for path in files if not verdict(path)[0]}


def azd_context(rules: list[str], files: list[Path]) -> set[str]:
    """As `acr_context`, for azd's remote build: the last rule that a file or a folder above it matches decides.

    (`MatchesOrParentMatches` of moby/patternmatcher, as azd's own pack_source.go calls it.)
    """
    patterns = [(not rule.startswith("!"), _pattern(rule.removeprefix("!"))) for rule in rules]

    def ignored(path: Path) -> bool:
        places = [path.as_posix(), *(parent.as_posix() for parent in path.parents if parent != Path())]
        said = [ignore for ignore, pattern in patterns if any(map(pattern.fullmatch, places))]
        return bool(said) and said[-1]

    return {path.as_posix() for path in files if not ignored(path)}


def _pattern(rule: str) -> re.Pattern[str]:
    parts = rule.strip("/").split("/")
    text = ""
    for index, part in enumerate(parts, 1):
        if part == "**":
            text += ".*"
        else:
            text += part.replace("*", "[^/]*").replace("?", "[^/]").replace(".", "\\.") + "/" * (index < len(parts))
    return re.compile(text)
