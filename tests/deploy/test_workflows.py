"""The workflows: pinned, without more rights than they need, and speaking of files that are there."""

import fnmatch
import hashlib
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


MAY_WRITE = {
    "check": {"security-events"},
    "publish": {"id-token", "attestations"},
    "propose": {"contents", "pull-requests"},
}


def read(path: Any) -> dict[Any, Any]:
    return dict(yaml.safe_load(path.read_text()))


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_there_is_one_for_each_purpose() -> None:
    assert {"ci", "deploy", "images", "renew"} == {path.stem for path in WORKFLOWS}


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
        assert written <= MAY_WRITE.get(name, set())
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
    entries = images["jobs"]["build"]["strategy"]["matrix"]["include"]
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


def test_the_real_tools_are_asked_about_all_of_it() -> None:
    """Every Bicep file and every file of parameters by the compiler; every overlay and the chart by an API server."""
    deploy = (ROOT / ".github/workflows/deploy.yml").read_text()
    for command, files in (("lint", "*.bicep infra/*.bicep"), ("build", "*.bicep infra/*.bicep")):
        assert f'for file in {files}; do az bicep {command} --file "$file"' in deploy
    assert 'for file in infra/*.bicepparam; do az bicep build-params --file "$file"' in deploy
    (applied,) = re.findall(r"for overlay in (.+); do", deploy)
    overlays = {path.parent.name for path in KUBERNETES.glob("overlays/*/kustomization.yaml")}
    assert overlays - {"local"} == set(applied.split()) - {"tokens"}, "`local` runs in it"
    (sets,) = re.findall(r"for values in (.+); do\n +helm template roo-vision k8s/chart --set \"\$values\"", deploy)
    values = yaml.safe_load((KUBERNETES / "chart/values.yaml").read_text())
    assert {each.partition("=")[0] for each in re.split("[ ,]", sets)} <= values.keys()


def test_every_architecture_that_is_built_is_run_and_listed_before_any_of_it_is_published() -> None:
    jobs = IMAGES["jobs"]
    matrix = {name: job["strategy"]["matrix"]["include"] for name, job in jobs.items()}
    built = {
        (entry["kind"], platform.removeprefix("linux/"))
        for entry in matrix["build"]
        for platform in entry["platforms"].split(",")
    }
    checked = {(entry["kind"], entry["architecture"]) for entry in matrix["check"]}
    published = {(entry["kind"], one) for entry in matrix["publish"] for one in entry["architectures"].split()}
    assert built == checked == published
    assert {("cpu", "amd64"), ("cpu", "arm64"), ("cuda", "amd64")} <= built
    assert (jobs["check"]["needs"], jobs["publish"]["needs"]) == ("build", "check")


def test_each_image_is_published_with_its_own_lists() -> None:
    jobs = IMAGES["jobs"]
    lists = {
        f"sbom-{entry['kind']}-{entry['architecture']}" for entry in jobs["check"]["strategy"]["matrix"]["include"]
    }
    (pattern,) = (step["with"]["pattern"] for step in jobs["publish"]["steps"] if "pattern" in step.get("with", {}))
    for entry in jobs["publish"]["strategy"]["matrix"]["include"]:
        taken = set(fnmatch.filter(lists, pattern.replace("${{ matrix.kind }}", entry["kind"])))
        assert taken == {f"sbom-{entry['kind']}-{one}" for one in entry["architectures"].split()}


def test_nothing_is_built_twice() -> None:
    """One job builds, into a file that the others take; who can publish has neither the sources nor a builder."""
    building = {name for name, job in IMAGES["jobs"].items() for step in job["steps"] if "build-push" in str(step)}
    assert building == {"build"}
    (build,) = (step for step in IMAGES["jobs"]["build"]["steps"] if "build-push" in step.get("uses", ""))
    assert build["with"]["outputs"] == "type=oci,dest=image.tar"
    publish = IMAGES["jobs"]["publish"]["steps"]
    assert not any("checkout" in step.get("uses", "") for step in publish)
    assert "oci-archive:image.tar" in PUBLISH["push"]["run"]
    assert "--preserve-digests" in PUBLISH["push"]["run"]
    assert "--preserve-digests" in PUBLISH["tag"]["run"]


def test_a_tag_is_given_last() -> None:
    order = [step.get("id") or step.get("uses", "").split("@")[0] for step in IMAGES["jobs"]["publish"]["steps"]]
    last = ["push", "sigstore/cosign-installer", "sign", "actions/attest-build-provenance", "tag"]
    assert order[-5:] == last
    for step in IMAGES["jobs"]["publish"]["steps"][-5:]:
        assert step["if"] == "steps.there.outputs.publish == 'true'"


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
        {"skopeo": "echo image"},
        GITHUB_EVENT_NAME=event,
        GITHUB_REF=ref,
        GITHUB_REF_NAME=ref.rpartition("/")[2],
        GITHUB_SHA="0123456789abcdef0123456789abcdef01234567",
        KIND=kind,
    )
    outputs = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert re.fullmatch(tag + ("" if kind == "cpu" else f"-{kind}"), outputs["tag"]), done
    assert outputs["digest"] == "sha256:" + hashlib.sha256(b"image\n").hexdigest()


LISTED = 'case "$*" in *"repository list"*) echo roo-vision ;; *) printf "v0.1.0\\nv0.1.0-cuda\\n" ;; esac'


@pytest.mark.parametrize(
    ("az", "tag", "digest", "publishes"),
    [
        (LISTED, "v0.1.0", "sha256:1", False),
        (LISTED, "v0.1.0", "sha256:0", True),
        (LISTED, "v0.1.1", "sha256:1", True),
        (LISTED, "v0.1", "sha256:1", True),
        ("echo other", "v0.1.0", "sha256:1", True),
    ],
)
def test_a_tag_that_is_there_is_not_moved(tmp_path: Path, az: str, tag: str, digest: str, publishes: bool) -> None:
    commands = {"az": az, "docker": "echo sha256:0"}
    named = {"REGISTRY": "any.azurecr.io", "IMAGE": "any.azurecr.io/roo-vision", "TAG": tag, "DIGEST": digest}
    done = run_step("there", tmp_path, commands, **named)
    *_, last = (line for line in done.stdout.splitlines() if line.startswith("publish="))
    assert (done.returncode, last) == (0, f"publish={str(publishes).lower()}"), done


def test_a_registry_that_does_not_answer_is_no_empty_registry(tmp_path: Path) -> None:
    done = run_step(
        "there", tmp_path, {"az": "exit 1", "docker": "exit 1"}, REGISTRY="any.azurecr.io", TAG="v0.1.0", DIGEST=""
    )
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
