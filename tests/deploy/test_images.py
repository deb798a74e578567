"""The Dockerfiles: what the final image is and holds, that the two are alike, and that their locks are whole."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.settings import Settings, load_settings
from tests.deploy.places import DOCKERFILES, GRPC_PORT, PORT, PROBES, ROOT, final_stage, image_environment, instructions
from tests.fixtures.server import Server

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = {"cpu": ("cpu",), "cuda": ("cuda", "torch"), "cuda-slim": ("cuda",)}
"""The images' locks, and which extras are in each."""

both = pytest.mark.parametrize("dockerfile", DOCKERFILES)


def lock(kind: str) -> str:
    return (ROOT / f"requirements-{kind}.lock").read_text()


def one(dockerfile: str, name: str) -> str:
    """The argument of an instruction that the final stage has once."""
    (value,) = [rest for instruction, rest in final_stage(dockerfile) if instruction == name]
    return value


@both
def test_the_base_is_an_argument_and_no_stage_has_another(dockerfile: str) -> None:
    stages = [rest.split(" AS ")[0] for name, rest in instructions(dockerfile) if name == "FROM"]
    assert set(stages) == {"${PYTHON_IMAGE}"}
    assert len(stages) >= 2


@both
def test_nothing_is_run_in_the_final_stage(dockerfile: str) -> None:
    """So there is no compiler, no cache and no package manager's leftover in it that the base has not."""
    assert "RUN" not in {name for name, _ in final_stage(dockerfile)}


@both
def test_it_is_not_root_and_gets_its_signals(dockerfile: str) -> None:
    user = one(dockerfile, "USER").split(":")[0]
    assert user.isdecimal()
    assert int(user) >= 10000
    assert one(dockerfile, "STOPSIGNAL") == "SIGTERM"
    assert json.loads(one(dockerfile, "ENTRYPOINT")) == ["roo-vision"]
    assert json.loads(one(dockerfile, "CMD")) == ["serve"]
    assert "roo-vision" in PROJECT["scripts"]


@both
def test_its_settings_are_ones(dockerfile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = image_environment(dockerfile)
    for name, value in environment.items():
        if name.startswith("ROO_"):
            monkeypatch.setenv(name, value)
    settings = load_settings()
    assert str(settings.models_dir) == "/models"
    assert settings.max_inflight_bytes < Settings.model_fields["max_inflight_bytes"].default
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"
    assert ("COPY", "models /models") in final_stage(dockerfile)


@both
def test_it_exposes_the_ports_that_are_listened_on(dockerfile: str) -> None:
    http, grpc = one(dockerfile, "EXPOSE").split()
    assert int(http) == Settings.model_fields["port"].default == PORT
    assert int(grpc) == int(image_environment(dockerfile)["ROO_GRPC_PORT"]) == GRPC_PORT


@both
def test_the_health_check_tells_a_ready_service_from_none(dockerfile: str, server: Server) -> None:
    _, _, command = one(dockerfile, "HEALTHCHECK").partition("CMD ")
    python, *arguments = json.loads(command)
    assert python == "python"
    assert PROBES["readiness"] in command
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROO_")}
    for port, healthy in ((server.port, True), (1, False)):
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**environment, "ROO_PORT": str(port)},
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert (done.returncode == 0) is healthy


@both
def test_its_labels_name_this_version(dockerfile: str) -> None:
    arguments = dict(rest.split("=", 1) for name, rest in final_stage(dockerfile) if name == "ARG" and "=" in rest)
    assert arguments["VERSION"] == PROJECT["version"]
    labels = one(dockerfile, "LABEL")
    for label in (
        "title",
        "description",
        "licenses",
        "version",
        "revision",
        "created",
        "source",
        "base.name",
        "base.digest",
    ):
        assert f"org.opencontainers.image.{label}=" in labels


def test_the_two_differ_in_what_makes_them_two_only() -> None:
    cpu, cuda = ({(name, rest) for name, rest in instructions(file)} for file in DOCKERFILES)
    changed = {name: (dict(cpu - cuda).get(name), dict(cuda - cpu).get(name)) for name, _ in cpu ^ cuda}
    assert changed.pop("ARG") == ("LOCK=requirements-cpu.lock", "LOCK=requirements-cuda.lock")
    without, driver = changed.pop("ENV")
    assert driver == without.replace(
        "ORT_DISABLE_TELEMETRY=1", "ORT_DISABLE_TELEMETRY=1 NVIDIA_DRIVER_CAPABILITIES=compute,utility"
    )
    assert changed == {}


def test_only_what_is_named_reaches_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    copied = {
        word.removeprefix("./").replace("${LOCK}", "requirements-*.lock").replace("-build.lock", "-*.lock")
        for file in DOCKERFILES
        for name, rest in instructions(file)
        if name == "COPY" and "--from" not in rest
        for word in rest.split()[:-1]
    }
    assert copied <= {rule.removeprefix("!") for rule in rules}


@pytest.mark.parametrize("kind", LOCKS)
def test_a_lock_holds_every_dependency_with_hashes_and_names_no_host(kind: str) -> None:
    text = lock(kind)
    entries = re.findall(
        r"^(\S+)==(\S+)(?: ; .*)? \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", text, re.MULTILINE
    )
    locked = {canonicalize_name(name): version for name, version in entries}
    assert len(entries) == len(re.findall(r"^\S+==", text, re.MULTILINE))
    extras = [line for extra in LOCKS[kind] for line in PROJECT["optional-dependencies"][extra]]
    for requirement in map(Requirement, PROJECT["dependencies"] + extras):
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"requirements-{kind}.lock lacks {requirement.name}: renew it with `make lock`"
        assert requirement.specifier.contains(version, prereleases=True)
    assert "://" not in text
    assert ("onnxruntime" in locked) is not ("onnxruntime-gpu" in locked)
    assert ("torch" in locked) is ("torchvision" in locked) is ("torch" in LOCKS[kind])


def test_both_cuda_images_have_one_cudnn_and_cublas_for_all_engines() -> None:
    """Of NVIDIA's libraries each is there once, of CUDA 13, as PyTorch pins it and ONNX Runtime takes it."""
    for kind in ("cuda", "cuda-slim"):
        names = re.findall(r"^(nvidia-[a-z-]+?)(?:-cu(\d+))?==(\d+)", lock(kind), re.MULTILINE)
        assert len({name for name, _, _ in names}) == len(names)
        assert {cuda for _, cuda, _ in names} <= {"", "13"}
        majors = {name: major for name, _, major in names}
        assert (majors["nvidia-cudnn"], majors["nvidia-cublas"], majors["nvidia-cuda-runtime"]) == ("9", "13", "13")


def test_hadolint_agrees() -> None:
    beside = shutil.which("hadolint", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    if beside is None:
        pytest.skip("hadolint is not installed: the Dockerfiles were NOT linted")
    done = subprocess.run([beside, *DOCKERFILES], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
