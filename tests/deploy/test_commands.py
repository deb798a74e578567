"""The documented builds fit the Dockerfiles, on a laptop and in a registry, and a tag stands for one image for ever."""

import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.commands import DOCUMENTS, Build, acr_context, azd_context, builds, shown
from tests.deploy.places import DOCKERFILES, ROOT, instructions

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
KINDS = {
    ("Dockerfile", None): "cpu",
    ("Dockerfile", "requirements-openvino.lock"): "openvino",
    ("Dockerfile.cuda", None): "cuda",
    ("Dockerfile.cuda", "requirements-cuda-slim.lock"): "cuda-slim",
}
"""What an image is called that is built from this file with that lock."""
DEPLOYED = re.compile(r"(?:azurecr\.io|\$REGISTRY|\$\{REGISTRY\}|\$IMAGE)/?(?:roo-vision)?:([\w.-]+)")
TAG = re.compile(r"(v\d+\.\d+\.\d+|nightly-(\d{8}|YYYYMMDD)|sha-[0-9a-f]{12})(-cuda(-slim)?)?")
BUILDKIT_ONLY = re.compile(r"--(mount|network|security|link|chmod|parents|exclude|checksum|keep-git-dir|platform)\b|<<")

every = pytest.mark.parametrize("build", builds(), ids=lambda build: f"{build.place}-{build.tag}")


def test_both_ways_of_building_are_shown() -> None:
    slim = [build.in_registry for build in builds() if build.tag.endswith("-slim")]
    assert sorted(slim) == [False, True]
    assert {build.dockerfile for build in builds() if build.in_registry} == set(DOCKERFILES)
    assert {build.dockerfile for build in builds() if not build.in_registry} == set(DOCKERFILES)


@every
def test_a_documented_build_names_what_is_there(build: Build) -> None:
    declared = {rest.split("=")[0] for name, rest in instructions(build.dockerfile) if name == "ARG"}
    assert build.context == "."
    assert build.arguments.keys() <= declared
    assert all((ROOT / value).exists() for name, value in build.arguments.items() if name == "LOCK")


@every
def test_a_registry_gets_the_releases_tags_and_a_laptop_others(build: Build) -> None:
    kind = KINDS[build.dockerfile, build.arguments.get("LOCK")]
    if build.in_registry:
        assert build.tag == f"roo-vision:v{VERSION}" + ("" if kind == "cpu" else f"-{kind}")
    else:
        assert build.tag == f"roo-vision:{kind}"


@pytest.mark.parametrize("name", [*DOCUMENTS, "containerapp.bicep"])
def test_what_is_deployed_has_a_tag_that_never_moves(name: str) -> None:
    for tag in DEPLOYED.findall((ROOT / name).read_text()):
        assert TAG.fullmatch(tag), f"{name} deploys {tag}"


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_a_registry_without_buildkit_can_build_it(dockerfile: str) -> None:
    assert not re.search(r"^# *syntax *=", (ROOT / dockerfile).read_text(), re.MULTILINE)
    for name, rest in instructions(dockerfile):
        assert not (name in {"FROM", "RUN", "COPY", "ADD"} and BUILDKIT_ONLY.search(rest)), f"{name} {rest}"


@pytest.mark.parametrize(
    "line", ["--mount=type=cache,target=/root/.cache pip install x", "--link . .", "--chmod=755 a b", "<<EOF"]
)
def test_what_a_registry_could_not_build_is_found(line: str) -> None:
    assert BUILDKIT_ONLY.search(line)


def context(reading: Callable[[list[str], list[Path]], set[str]]) -> set[str]:
    """What is sent of the repository where .dockerignore is read in that way."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    litter = [Path("app/__pycache__/main.pyc"), Path(".env"), Path("models/shelf/training/data.npz")]
    files = [Path(name) for name in tracked.split("\0") if name and not name.startswith(".git")]
    return reading([line for line in lines if line and not line.startswith("#")], [*files, *litter])


@pytest.fixture(scope="module")
def sent() -> set[str]:
    """What `az acr build` sends of the repository."""
    return context(acr_context)


def test_azd_up_sends_the_same(sent: set[str]) -> None:
    assert context(azd_context) == sent


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_az_acr_build_sends_what_is_copied(sent: set[str], dockerfile: str) -> None:
    defaults = dict(rest.split("=", 1) for name, rest in instructions(dockerfile) if name == "ARG" and "=" in rest)
    for name, rest in instructions(dockerfile):
        if name == "COPY" and "--from" not in rest:
            for source in rest.replace("${LOCK}", defaults["LOCK"]).split()[:-1]:
                there = {file for file in sent if Path(file).is_relative_to(source)}
                assert there, f"{dockerfile} copies {source}, which az acr build does not send"


def test_az_acr_build_sends_the_bundled_model_and_nothing_else_of_its_folder(sent: set[str]) -> None:
    models = {file for file in sent if file.startswith("models/")}
    assert {"models/shelf/model.yaml", "models/shelf/1/model.onnx"} <= models
    kinds = {Path(file).suffix for file in models}
    assert kinds <= {".yaml", ".txt", ".onnx", ".jpg"}, kinds
    assert not any(file.startswith((".git", "tests/", "docs/", ".env")) or file.endswith(".pyc") for file in sent)


def test_a_cluster_without_a_way_out_has_all_that_another_has() -> None:
    """Without the registry attached no pod of it would start."""
    first, private = ([word for word in command.split() if word.startswith("--")] for command in clusters())
    assert "--attach-acr" in first
    assert set(first) <= set(private)
    assert {"--enable-private-cluster", "--outbound-type"} <= set(private)


def clusters() -> list[str]:
    """Every documented `az aks create`."""
    return [command for place, command in shown() if place == "k8s/README.md" and command.startswith("az aks create ")]
