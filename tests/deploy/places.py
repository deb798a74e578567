"""Where the shipped files are, and how those without a parser of their own are read."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "k8s"
DOCKERFILES = ("Dockerfile", "Dockerfile.cuda")

PORT = 8000
GRPC_PORT = 8001
PROBES = {"startup": "/startupz", "readiness": "/readyz", "liveness": "/livez"}


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile as (name, rest), comments left out and continued lines joined."""
    lines = [line for line in (ROOT / dockerfile).read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    parts = (line.strip().partition(" ") for line in joined.splitlines() if line.strip())
    return [(name.upper(), re.sub(r"\s+", " ", rest.strip())) for name, _, rest in parts]


def final_stage(dockerfile: str) -> list[tuple[str, str]]:
    """The instructions after the last FROM."""
    all_of_them = instructions(dockerfile)
    last = max(index for index, (name, _) in enumerate(all_of_them) if name == "FROM")
    return all_of_them[last + 1 :]


def image_environment(dockerfile: str) -> dict[str, str]:
    """What ENV sets in the final stage."""
    values = [rest for name, rest in final_stage(dockerfile) if name == "ENV"]
    return dict(pair.split("=", 1) for value in values for pair in value.split())


class Bicep:
    """A Bicep file, read as far as these tests need it: by name, without a compiler."""

    def __init__(self, text: str) -> None:
        self.text = text

    def default(self, parameter: str) -> str:
        """A parameter's default, as it is written, without quotes."""
        return self._one(rf"^param {parameter} \w+ = (.+)$").strip("'")

    def parameters(self) -> dict[str, bool]:
        """Every parameter's name, and whether it has a default."""
        return {name: " = " in rest for name, rest in re.findall(r"^param (\w+) (.+)$", self.text, re.MULTILINE)}

    def outputs(self) -> set[str]:
        """Every output's name."""
        return set(re.findall(r"^output (\w+)", self.text, re.MULTILINE))

    def modules(self) -> list[tuple[str, str, str]]:
        """Every module that is used, as (name, file, text)."""
        return re.findall(r"^module (\w+) '(.+?)' = (.*?)^}", self.text, re.MULTILINE | re.DOTALL)

    def resources(self) -> list[tuple[str, str, str]]:
        """Every resource that is made, not those that exist already, as (name, type@version, text)."""
        found = re.findall(r"^resource (\w+) '(.+?)' (.*?)^[}\]]", self.text, re.MULTILINE | re.DOTALL)
        return [each for each in found if not each[2].startswith("existing")]

    def variable(self, name: str) -> str:
        """A variable's value, as it is written, without quotes."""
        return self._one(rf"^var {name} = (.+)$").strip("'")

    def resource(self, name: str) -> str:
        """The text of a resource."""
        return self._one(rf"^resource {name} '(.*?)^}}")

    def block(self, name: str) -> str:
        """The text of a variable of several lines."""
        return self._one(rf"^var {name} = (.*?)\n\n")

    def literal(self, resource: str, key: str) -> str:
        """What a key of a resource is set to, at its first place, where that is a text."""
        return re.findall(rf"^ +{key}: '(.*)'$", self.resource(resource), re.MULTILINE)[0]

    def environment(self, *groups: str) -> dict[str, str]:
        """Every variable that these `var`s (all: none named) give the container, and the expression of its value."""
        texts = [self.block(group) for group in groups] or [self.text]
        return dict(re.findall(r"\{ name: '(\w+)', value: (.+) \}", "".join(texts)))

    def sizes(self) -> dict[str, dict[str, str]]:
        """What each `compute` means."""
        block = self._one(r"^var sizes = \{\n(.*?)^}")
        sizes = re.findall(r"^  '?([\w-]+)'?: \{\n(.*?)^  }", block, re.MULTILINE | re.DOTALL)
        return {name: dict(re.findall(r"^    (\w+): '?(.*?)'?$", body, re.MULTILINE)) for name, body in sizes}

    def _one(self, pattern: str) -> str:
        (found,) = re.findall(pattern, self.text, re.MULTILINE | re.DOTALL if "(.*?)" in pattern else re.MULTILINE)
        return str(found)


BICEP_FILES = [str(path.relative_to(ROOT)) for path in sorted([*ROOT.glob("*.bicep"), *ROOT.glob("infra/*.bicep")])]


def bicep(name: str) -> Bicep:
    """A Bicep file of the repository."""
    return Bicep((ROOT / name).read_text())


def image_script(name: str) -> ModuleType:
    """One of the scripts in `.docker`, which are in no package, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".docker" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
