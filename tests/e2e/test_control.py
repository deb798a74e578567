"""Who may change what is served, and in which words: our own, Triton's clients', the command's."""

import json
import subprocess
import sys
from collections.abc import Iterator
from os import environ
from pathlib import Path

import httpx
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from app.client import Client, Refused
from tests.fixtures.models import add_colour_model, write_manifest
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server, serving

ADMIN, CAMERA = "an-administrators-secret-key", "a-cameras-own-and-secret-key"
PICTURE = solid((255, 0, 0))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("controlled")
    add_colour_model(root)
    add_colour_model(root, "second")
    return root


@pytest.fixture(scope="module")
def guarded(models: Path) -> Iterator[Server]:
    keys = models.parent / f"{models.name}-keys"
    keys.write_text(f"operator:{ADMIN} admin\ncamera:{CAMERA}\n")
    with serving(models, auth="keys", api_keys_file=keys, default_model="colour", grpc_port=0) as server:
        yield server


@pytest.mark.parametrize("path", ["/v1/models/second/{}", "/v2/repository/models/second/{}"])
def test_only_an_administrators_key_changes_models(guarded: Server, path: str) -> None:
    with guarded.client() as client:
        for verb in ("unload", "load"):
            assert client.post(path.format(verb)).status_code == 401
            refused = client.post(path.format(verb), headers={"x-api-key": CAMERA})
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
            assert "scope `admin`" in refused.json()["detail"]
            asked = client.post("/v1/models/second/predict", content=PICTURE, headers={"x-api-key": CAMERA})
            assert asked.status_code == (200 if verb == "unload" else 404)
            assert client.post(path.format(verb), headers={"x-api-key": ADMIN}).status_code == 200


@pytest.mark.parametrize(("who", "words"), [("admin", "ROO_MODEL_CONTROL=open"), ("off", "ROO_MODEL_CONTROL=off")])
def test_without_keys_nobody_is_an_administrator(models: Path, who: str, words: str) -> None:
    with serving(models, model_control=who, default_model="colour") as server, server.client() as client:
        for path in ("/v1/models/second/unload", "/v2/repository/models/second/unload"):
            refused = client.post(path)
            assert refused.status_code == 403
            assert words in refused.json()["detail"]


def test_pages_of_elsewhere_change_nothing(models: Path) -> None:
    with serving(models, model_control="open", default_model="colour") as server, server.client() as client:
        foreign = client.post("/v1/models/second/unload", headers={"origin": "https://elsewhere.example"})
        assert (foreign.status_code, foreign.json()["code"]) == (403, "forbidden")
        assert client.post("/v1/models/second/unload", headers={"origin": server.url}).status_code == 200


def test_tritons_http_client_loads_and_unloads(guarded: Server) -> None:
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{guarded.port}")
    key = {"x-api-key": ADMIN}
    client.unload_model("second", headers=key, unload_dependents=True)
    index = client.get_model_repository_index(headers=key)
    assert [(entry["name"], entry["state"]) for entry in index] == [("colour", "READY")]
    client.load_model("second", headers=key)
    assert client.is_model_ready("second", headers=key)
    with pytest.raises(InferenceServerException, match="'config' is not taken"):
        client.load_model("second", headers=key, config='{"max_batch_size": 1}')
    with pytest.raises(InferenceServerException, match="There is no model 'nowhere'"):
        client.load_model("nowhere", headers=key)
    with pytest.raises(InferenceServerException, match="Only an administrator"):
        client.unload_model("second", headers={"x-api-key": CAMERA})
    with pytest.raises(InferenceServerException, match="ROO_DEFAULT_MODEL"):
        client.unload_model("colour", headers=key)
    client.close()


def test_tritons_grpc_client_loads_and_unloads(guarded: Server, models: Path) -> None:
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{guarded.grpc_port}") as client:
        key = {"x-api-key": ADMIN}
        client.unload_model("second", headers=key)
        assert not client.is_model_ready("second", headers=key)
        client.load_model("second", headers=key)
        assert client.is_model_ready("second", headers=key)
        with pytest.raises(InferenceServerException, match="is not taken: a model is what the repository holds"):
            client.load_model("second", headers=key, config="{}", files={"file:1/model.onnx": b"ONNX"})
        with pytest.raises(InferenceServerException, match="PERMISSION_DENIED"):
            client.load_model("second", headers={"x-api-key": CAMERA})
        whole = (models / "second" / "model.yaml").read_text()
        write_manifest(models / "second", {"tsak": "classification"})
        try:
            with pytest.raises(InferenceServerException, match=r"(?s)FAILED_PRECONDITION.*tsak: is not a field"):
                client.load_model("second", headers=key)
            entries = {entry.name: entry for entry in client.get_model_repository_index(headers=key).models}
            assert entries["second"].state == "READY"
            assert "tsak" in entries["second"].reason
        finally:
            (models / "second" / "model.yaml").write_text(whole)
            client.load_model("second", headers=key)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 200, ""),
        (b"{}", 200, ""),
        (b'{"parameters": {}}', 200, ""),
        (b"nonsense", 400, "not JSON"),
        (b"[" * 5000, 400, "not JSON"),
        (b"[]", 400, "must be an object"),
        (b'{"parameters": [1]}', 400, "`parameters` must be an object"),
        (b'{"parameters": {"file:1/model.onnx": "QQ=="}}', 400, "'file:1/model.onnx' is not taken"),
        (b'{"parameters": {"config": "' + b"x" * 70000 + b'"}}', 400, "more than 65536 bytes"),
    ],
)
def test_what_a_load_may_say(guarded: Server, body: bytes, status: int, words: str) -> None:
    url = f"{guarded.url}/v2/repository/models/second/load"
    response = httpx.post(url, content=body, headers={"x-api-key": ADMIN}, timeout=20)
    assert response.status_code == status
    assert words in response.text


def test_the_index_may_be_asked_for_what_is_ready(guarded: Server) -> None:
    url = f"{guarded.url}/v2/repository/index"
    for body in (b"", b"{}", b'{"ready": true}'):
        entries = httpx.post(url, content=body, headers={"x-api-key": CAMERA}, timeout=20).json()
        assert {entry["name"] for entry in entries} == {"colour", "second"}
    wrong = httpx.post(url, content=b'{"ready": "yes"}', headers={"x-api-key": CAMERA}, timeout=20)
    assert (wrong.status_code, wrong.json()["error"]) == (400, "`ready` must be true or false.")


def test_the_clients_own_methods(guarded: Server) -> None:
    with Client(guarded.url, api_key=ADMIN) as client:
        assert client.load_model("second").outcome == "unchanged"
        assert client.reload_model("second").versions == ["1"]
        assert client.unload_model("second").versions == []
        assert client.load_model("second").outcome == "loaded"
    with Client(guarded.url, api_key=CAMERA) as client, pytest.raises(Refused) as refused:
        client.unload_model("second")
    assert (refused.value.status, refused.value.code) == (403, "forbidden")


def test_the_command(guarded: Server) -> None:
    def run(verb: str, key: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "app", "models", verb, "second", "--url", guarded.url]
        known = {**environ, "ROO_API_KEY": key}
        return subprocess.run(command, env=known, capture_output=True, text=True, timeout=60, check=False)

    done = run("reload", ADMIN)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("second: loaded, version 1 answers; ")
    refused = run("unload", CAMERA)
    assert refused.returncode == 1
    assert "Only an administrator" in refused.stderr


def test_the_document_says_what_may_be_asked(guarded: Server) -> None:
    paths = httpx.get(f"{guarded.url}/openapi.json", timeout=20).json()["paths"]
    for verb in ("load", "reload", "unload"):
        assert {"200", "401", "403", "404", "422", "503"} <= set(
            paths[f"/v1/models/{{name}}/{verb}"]["post"]["responses"]
        )
    assert "422" in json.dumps(paths["/v2/repository/models/{name}/load"])
