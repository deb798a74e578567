"""Where the shipped files are, and how those without a parser of their own are read."""

import re
from pathlib import Path

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

    def variable(self, name: str) -> str:
        """A variable's value, as it is written, without quotes."""
        return self._one(rf"^var {name} = (.+)$").strip("'")

    def resource(self, name: str) -> str:
        """The text of a resource."""
        return self._one(rf"^resource {name} '(.*?)^}}")

    def block(self, name: str) -> str:
        """The text of a variable of several lines."""
        return self._one(rf"^var {name} = (.*?)\n\n")

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


def containerapp() -> Bicep:
    """containerapp.bicep."""
    return Bicep((ROOT / "containerapp.bicep").read_text())
