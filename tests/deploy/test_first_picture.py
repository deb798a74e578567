"""docs/first-picture.md: each way's commands name files, targets, parameters and queues that there are."""

import re
import shlex
import subprocess

from tests.deploy.commands import shown
from tests.deploy.places import ROOT
from tests.deploy.test_compose import SERVICES

PAGE = "docs/first-picture.md"
COMMANDS = [command for place, command in shown() if place == PAGE]
PATHS = re.compile(r"(?<![\w/.$-])(?:k8s|infra|models)/[\w./-]+[\w]|\b\w+\.bicep\b")


def used(start: str) -> list[list[str]]:
    """The words of every command that begins so."""
    return [shlex.split(command) for command in COMMANDS if command.startswith(start)]


def test_every_way_is_there() -> None:
    for start in (
        "make run",
        "docker run",
        "docker compose",
        "az deployment",
        "azd up",
        "kubectl apply",
        "helm upgrade",
    ):
        assert used(start), start


def test_files_that_are_named_are_there() -> None:
    named = {path for command in COMMANDS for path in PATHS.findall(command)}
    assert len(named) >= 6
    assert not {path for path in named if not (ROOT / path).exists() and not list(ROOT.glob(f"{path}*"))}


def test_make_has_the_targets() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {words[1] for words in used("make ")} <= set(targets)


def test_deployments_give_parameters_and_ask_for_outputs_that_their_files_have() -> None:
    files = {}
    for words in used("az deployment group create"):
        file = words[words.index("-f") + 1]
        files[words[words.index("-n") + 1]] = file
        given = words[words.index("-p") + 1 :] if "-p" in words else []
        declared = re.findall(r"^param (\w+) ", (ROOT / file).read_text(), re.MULTILINE)
        assert {pair.split("=")[0] for pair in given} <= set(declared), file
    for name, output in re.findall(
        r"show -g \$GROUP -n ([\w-]+) --query properties\.outputs\.(\w+)", "\n".join(COMMANDS)
    ):
        assert re.search(rf"^output {output} ", (ROOT / files[name]).read_text(), re.MULTILINE), output


def test_compose_has_the_profiles_and_queues() -> None:
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", [])}
    asked = {words[words.index("--profile") + 1] for words in used("docker compose") if "--profile" in words}
    assert asked <= profiles
    (send,) = (command for command in COMMANDS if "roo-vision send" in command)
    queues = re.findall(r"--(?:queue|results) (\w+)", send)
    assert len(queues) == 2
    assert all(f"{queue}," in " ".join(SERVICES["devbus"]["command"]) for queue in queues)


def test_a_shell_can_read_the_blocks() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / PAGE).read_text(), re.MULTILINE | re.DOTALL)
    for block in blocks:
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_table_has_a_row_for_each_way() -> None:
    text = (ROOT / PAGE).read_text()
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    anchors = re.findall(r"^\| \[.+?\]\(#([\w-]+)\)", text, re.MULTILINE)
    assert anchors == [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
