"""A service that pulls its models at the start, from a container of blobs, with and without a cache."""

import subprocess
import sys
from collections.abc import Iterator
from os import environ
from pathlib import Path

import pytest

from tests.fixtures.blob_storage import Storage, blob_storage
from tests.fixtures.models import add_box_model, add_colour_model
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import PATIENCE
from tests.repository.sources.conftest import upload


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """A container with the models `colour` and `box`."""
    add_colour_model(tmp_path / "released")
    add_box_model(tmp_path / "released")
    with blob_storage() as running:
        upload(tmp_path / "released", running, "models/")
        yield running


@pytest.fixture
def settings(storage: Storage, tmp_path: Path) -> dict[str, object]:
    """What makes a service pull from it."""
    return {"models_source": storage.below("models"), "models_cache": tmp_path / "cache"}


def checks(server: Server) -> dict[str, str]:
    with server.client() as client:
        ready = client.get("/readyz")
        assert ready.status_code == 200
        return dict(ready.json()["checks"])


def versions(server: Server, model: str) -> list[str]:
    with server.client() as client:
        return [each["version"] for each in client.get(f"/v1/models/{model}").json()["versions"]]


def refused(settings: dict[str, object]) -> str:
    known = {f"ROO_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "app", "serve"]
    done = subprocess.run(
        command, env={**environ, "ROO_PORT": "0", **known}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "secret" not in done.stderr
    return done.stderr


def test_models_come_at_the_start_and_a_new_version_at_the_next(
    storage: Storage, settings: dict[str, object], tmp_path: Path
) -> None:
    nothing = tmp_path / "nothing"
    with serving(nothing, **settings) as server:
        told = checks(server)
        assert told["models"] == "box, colour"
        assert told["models source"].endswith("devstoreaccount1/models/models, pulled at the start")
        assert "sig=" not in server.log
        assert versions(server, "colour") == ["1"]
    storage.put("models/colour/2/model.onnx", storage.blobs["models/colour/1/model.onnx"].content)
    with serving(nothing, **settings) as server:
        assert versions(server, "colour") == ["2"]


def test_a_place_that_does_not_answer_is_told_and_the_cache_serves(
    storage: Storage, settings: dict[str, object], tmp_path: Path
) -> None:
    storage.refuse = (403, "AuthorizationFailure")
    assert "the signature is refused" in refused(settings)
    storage.refuse = None
    with serving(tmp_path, **settings):
        pass
    storage.refuse = (403, "AuthorizationFailure")
    with serving(tmp_path, **settings) as server:
        told = checks(server)
        assert told["models"] == "box, colour"
        assert told["models source"].startswith("NOT reached, models of an earlier start are served: ")
        assert "the signature is refused (403 AuthorizationFailure)" in told["models source"]


def test_a_model_that_cannot_be_pulled_is_as_before_or_missing(
    storage: Storage, settings: dict[str, object], tmp_path: Path
) -> None:
    content = storage.blobs["models/box/1/model.onnx"].content
    storage.put("models/door/model.yaml", storage.blobs["models/box/model.yaml"].content)
    storage.put("models/door/1/model.onnx", content, metadata={"sha256": "a" * 64})
    assert "door/1/model.onnx has the sha256" in refused({**settings, "strict_repository": True})
    with serving(tmp_path, **settings) as server, server.client() as client:
        assert checks(server)["models not served"] == "door (GET /v1/models says why)"
        (failed,) = client.get("/v1/models").json()["failed"]
        assert failed["name"] == "door"
        assert "a" * 64 in failed["reason"]
    storage.put("models/door/1/model.onnx", content)
    storage.blobs["models/box/1/model.onnx"].metadata["sha256"] = "a" * 64
    storage.blobs["models/box/1/model.onnx"].etag = "0xAA"
    with serving(tmp_path, **settings) as server:
        told = checks(server)
        assert told["models"] == "box, colour, door"
        assert "as at an earlier start: box" in told["models source"]


def test_only_signed_models_where_keys_are_trusted(settings: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
        "-----END PUBLIC KEY-----\n"
    )
    said = refused({**settings, "trusted_keys": tmp_path / "keys"})
    assert "None of the models could be pulled." in said
    assert "colour is not signed, and ROO_TRUSTED_KEYS demands it" in said


def test_sigterm_ends_a_start_that_still_pulls(storage: Storage, settings: dict[str, object], tmp_path: Path) -> None:
    storage.put("models/colour/1/weights.bin", bytes(10 * 2**20))
    storage.stall_at = 1
    known = {f"ROO_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "app", "serve"]
    with subprocess.Popen(command, env={**environ, **known}, stderr=subprocess.DEVNULL) as process:
        assert storage.stalled.wait(PATIENCE)
        process.terminate()
        assert process.wait(PATIENCE) == 0
