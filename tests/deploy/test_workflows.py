"""The workflows: pinned, without more rights than they need, and speaking of files that are there."""

import re
from typing import Any

import pytest
import yaml

from tests.deploy.places import DOCKERFILES, KUBERNETES, ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

every = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def read(path: Any) -> dict[Any, Any]:
    return dict(yaml.safe_load(path.read_text()))


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_there_is_one_for_each_purpose() -> None:
    assert {"ci", "deploy", "images"} <= {path.stem for path in WORKFLOWS}


@every
def test_actions_are_pinned_by_commit_and_say_which_version_that_is(path: Any) -> None:
    used = re.findall(r"uses: (\S+)(.*)$", path.read_text(), re.MULTILINE)
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


def test_an_action_has_one_version_everywhere() -> None:
    used = {use for path in WORKFLOWS for use in re.findall(r"uses: (\S+)", path.read_text())}
    assert len({use.split("@")[0] for use in used}) == len(used)


@every
def test_rights_are_given_to_jobs_and_are_few(path: Any) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        written = {right for right, level in job.get("permissions", {}).items() if level == "write"}
        assert written <= {"check": {"security-events"}, "publish": {"id-token"}}.get(name, set())
        assert job["timeout-minutes"] <= 90
    assert "pull_request_target" not in workflow[True]  # YAML reads the key `on` as true


@every
def test_commands_hold_nothing_that_others_may_write(path: Any) -> None:
    """An expression inside a command is pasted before the shell reads it; what comes from outside goes by `env`."""
    for step in steps(read(path)):
        assert "${{" not in step.get("run", ""), step


@every
def test_no_credentials_are_left_behind_and_none_are_kept(path: Any) -> None:
    text = path.read_text()
    assert "secrets." not in text
    for step in steps(read(path)):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_they_build_run_and_publish_what_is_there() -> None:
    images, deploy = read(ROOT / ".github/workflows/images.yml"), (ROOT / ".github/workflows/deploy.yml").read_text()
    for job in images["jobs"].values():
        assert tuple(entry["file"] for entry in job["strategy"]["matrix"]["include"]) == DOCKERFILES
    tag = images["env"]["PYTHON_TAG"]
    assert all(f"ARG PYTHON_IMAGE={tag}" in (ROOT / name).read_text() for name in DOCKERFILES)
    for name in re.findall(r"k8s/[\w./-]+|tests/[\w./-]+|\w+\.bicep", deploy):
        assert (ROOT / name).exists(), name
    assert {"cpu", "gpu", "local"} <= {path.name for path in (KUBERNETES / "overlays").iterdir()}
