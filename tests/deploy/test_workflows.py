"""The workflows: pinned, without more rights than they need, and speaking of files that are there."""

import os
import re
import subprocess
from pathlib import Path
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
        entries = job["strategy"]["matrix"]["include"]
        assert tuple(dict.fromkeys(entry["file"] for entry in entries)) == DOCKERFILES
        assert [entry["kind"] for entry in entries] == ["cpu", "cuda", "cuda-slim"]
        assert all((ROOT / f"requirements-{entry['kind']}.lock").exists() for entry in entries)
    tag = images["env"]["PYTHON_TAG"]
    assert all(f"ARG PYTHON_IMAGE={tag}" in (ROOT / name).read_text() for name in DOCKERFILES)
    for name in re.findall(r"k8s/[\w./-]+|tests/[\w./-]+|\w+\.bicep", deploy):
        assert (ROOT / name).exists(), name
    assert {"cpu", "gpu", "local"} <= {path.name for path in (KUBERNETES / "overlays").iterdir()}


IMAGES = read(ROOT / ".github/workflows/images.yml")
PUBLISH = {step["id"]: step for step in IMAGES["jobs"]["publish"]["steps"] if "id" in step}


def run_step(
    name: str, folder: Path, commands: dict[str, str], **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a step of `publish` as GitHub does, with these scripts in place of the commands; its outputs are printed."""
    for command, script in commands.items():
        (folder / command).write_text(f"#!/bin/sh\n{script}\n")
        (folder / command).chmod(0o755)
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", PUBLISH[name]["run"]],
        env={"PATH": f"{folder}:{os.environ['PATH']}", "GITHUB_OUTPUT": "/dev/stdout", **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("kind", ["cpu", "cuda", "cuda-slim"])
@pytest.mark.parametrize(
    ("event", "ref", "tag"),
    [
        ("push", "refs/tags/v0.1.0", r"v0\.1\.0"),
        ("workflow_dispatch", "refs/tags/v0.1.0", r"v0\.1\.0"),
        ("schedule", "refs/heads/main", r"nightly-20\d{6}"),
        ("push", "refs/heads/main", r"sha-0123456789ab"),
    ],
)
def test_a_tag_says_which_image_it_is_for_ever(tmp_path: Path, kind: str, event: str, ref: str, tag: str) -> None:
    done = run_step(
        "names",
        tmp_path,
        {"docker": "echo sha256:0"},
        GITHUB_EVENT_NAME=event,
        GITHUB_REF=ref,
        GITHUB_REF_NAME=ref.rpartition("/")[2],
        GITHUB_SHA="0123456789abcdef0123456789abcdef01234567",
        PYTHON_TAG="python:3",
        KIND=kind,
    )
    outputs = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert re.fullmatch(tag + ("" if kind == "cpu" else f"-{kind}"), outputs["tag"]), done
    assert re.fullmatch(tag.removeprefix("v"), outputs["version"])


LISTED = 'case "$*" in *"repository list"*) echo roo-vision ;; *) printf "v0.1.0\\nv0.1.0-cuda\\n" ;; esac'


@pytest.mark.parametrize(
    ("az", "tag", "said"),
    [
        (LISTED, "v0.1.0", "digest=sha256:0\n"),
        (LISTED, "v0.1.1", ""),
        (LISTED, "v0.1", ""),
        ("echo other", "v0.1.0", ""),
    ],
)
def test_what_is_there_is_not_built_again(tmp_path: Path, az: str, tag: str, said: str) -> None:
    commands = {"az": az, "docker": "echo sha256:0"}
    done = run_step("there", tmp_path, commands, REGISTRY="any.azurecr.io", IMAGE="any.azurecr.io/roo-vision", TAG=tag)
    assert (done.returncode, done.stdout) == (0, said), done
    assert PUBLISH["push"]["if"] == "steps.there.outputs.digest == ''"


def test_a_registry_that_does_not_answer_is_no_empty_registry(tmp_path: Path) -> None:
    done = run_step("there", tmp_path, {"az": "exit 1", "docker": "exit 1"}, REGISTRY="any.azurecr.io", TAG="v0.1.0")
    assert done.returncode != 0


def test_only_main_and_releases_are_signed_and_a_check_of_the_signature_says_so() -> None:
    condition = IMAGES["jobs"]["publish"]["if"]
    assert "github.ref == 'refs/heads/main' || startsWith(github.ref, 'refs/tags/v')" in condition
    (identity,) = re.findall(r"--certificate-identity-regexp '(.+)'", (ROOT / "docs/deployment.md").read_text())
    workflow = "https://github.com/OWNER/REPOSITORY/.github/workflows/images.yml"
    assert re.match(identity, f"{workflow}@refs/heads/main")
    assert re.match(identity, f"{workflow}@refs/tags/v0.1.0")
    assert not re.match(identity, f"{workflow}@refs/heads/mine")
    assert not re.match(identity, f"{workflow}@refs/heads/main-too")
