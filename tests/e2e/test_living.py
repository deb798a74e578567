"""Models are loaded, swapped and unloaded in a real process while it is asked, and no request notices."""

import hashlib
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from app.commands import signing
from tests.fixtures.living import RED, Callers, change, closed, open_to_all, version_in
from tests.fixtures.models import add_colour_model, add_numbered_version, colour_manifest, write_manifest
from tests.fixtures.pictures import solid
from tests.fixtures.waiting import until


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    add_numbered_version(tmp_path, 1)
    return tmp_path


def test_what_cannot_be_loaded_leaves_the_old_one_serving_and_says_why(numbered: Path) -> None:
    folder = numbered / "numbered"
    with open_to_all(numbered) as (server, client), Callers(server, "numbered") as callers:

        def refused(words: str) -> None:
            response = client.post("/v1/models/numbered/load")
            assert (response.status_code, response.json()["code"]) == (422, "cannot_load")
            assert words in response.json()["detail"]
            (failed,) = client.get("/v1/models").json()["failed"]
            assert (failed["name"], failed["serving"]) == ("numbered", True)
            assert words in failed["reason"]
            (entry,) = client.post("/v2/repository/index").json()
            assert (entry["state"], entry["version"]) == ("READY", "1")
            assert words in entry["reason"]
            ready = client.get("/readyz")
            assert ready.status_code == 200
            assert ready.json()["checks"]["models not renewed"] == "numbered (GET /v1/models says why)"
            assert 'roo_model_stale{model="numbered"} 1.0' in client.get("/metrics").text

        whole = (add_numbered_version(numbered, 2) / "model.onnx").read_bytes()
        (folder / "2" / "model.onnx").write_bytes(whole[: len(whole) // 2])
        refused("only the beginning of one")
        (folder / "2" / "model.onnx").write_bytes(whole)
        write_manifest(folder, colour_manifest(sha256={"2": "0" * 64}))
        refused("has the digest")
        write_manifest(folder, {"tsak": "classification"})
        refused("tsak: is not a field")
        write_manifest(folder, colour_manifest(labels=["one"]))
        refused("lists 1")
        write_manifest(folder, colour_manifest(sha256={"2": hashlib.sha256(whole).hexdigest()}))
        assert change(client, "load")["versions"] == ["2"]
        assert client.get("/v1/models").json()["failed"] == []
        assert "models not renewed" not in client.get("/readyz").json()["checks"]
        assert 'roo_model_stale{model="numbered"}' not in client.get("/metrics").text
        until(lambda: callers.answered[2])
        # It is gone where a version is taken away that answers: what is loaded is in memory.
        shutil.rmtree(folder / "2")
        assert change(client, "load")["versions"] == ["1"]
    assert callers.wrong == []
    assert set(callers.answered) <= {1, 2}


def test_what_has_not_changed_is_not_opened_again(numbered: Path) -> None:
    with open_to_all(numbered) as (server, client):
        assert change(client, "load")["outcome"] == "unchanged"
        write_manifest(numbered / "numbered", colour_manifest(description="said in other words"))
        assert change(client, "load")["outcome"] == "unchanged"
        write_manifest(numbered / "numbered", colour_manifest(versions=["1", "2"]))
        add_numbered_version(numbered, 2, versions=["1", "2"])
        assert change(client, "load")["versions"] == ["1", "2"]
        assert closed(server) == 0
        write_manifest(numbered / "numbered", colour_manifest(versions=["1", "2"], labels=["red", "green", "violet"]))
        assert change(client, "load")["outcome"] == "loaded"
        until(lambda: closed(server) == 2)
        assert change(client, "reload")["outcome"] == "loaded"
        until(lambda: closed(server) == 4)


def test_a_model_comes_and_goes_beside_another(tmp_path: Path) -> None:
    add_colour_model(tmp_path)
    with open_to_all(tmp_path) as (server, client):
        add_numbered_version(tmp_path, 3)
        assert client.post("/v1/models/numbered/predict", content=solid(RED)).status_code == 404
        assert change(client, "load")["versions"] == ["3"]
        assert version_in(client.post("/v1/models/numbered/predict", content=solid(RED)).json()) == 3
        # The only model of the start answers where none is named, whatever was loaded since.
        assert client.post("/v1/predict", content=solid(RED)).json()["model"] == "colour"
        assert change(client, "unload")["outcome"] == "unloaded"
        until(lambda: closed(server) == 1)
        assert client.post("/v1/models/numbered/predict", content=solid(RED)).status_code == 404
        assert client.post("/v1/models/numbered/unload").status_code == 404
        assert client.post("/v1/models/nowhere/load").status_code == 404
        assert client.post("/v1/models/%2e%2e/load").status_code == 404
        write_manifest(tmp_path / "broken", {"tsak": "detection"})
        assert client.post("/v1/models/broken/load").status_code == 422
        assert 'roo_model_failed{model="broken"} 1.0' in client.get("/metrics").text
        assert client.post("/v1/predict", content=solid(RED)).json()["model"] == "colour"
        # Unloading what is broken is having seen it.
        assert change(client, "unload", "broken")["outcome"] == "unloaded"
        assert client.get("/v1/models").json()["failed"] == []
        # Where nothing is left, every request would fail: others shall have them.
        assert change(client, "unload", "colour")["outcome"] == "unloaded"
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["models"][:12]) == (503, "none is left")
        assert client.get("/livez").status_code == 200
        assert change(client, "load", "colour")["outcome"] == "loaded"
        assert client.get("/readyz").status_code == 200


def test_what_must_stay_is_not_unloaded(tmp_path: Path) -> None:
    add_colour_model(tmp_path)
    add_colour_model(tmp_path, "held", pinned=True)
    with open_to_all(tmp_path, default_model="colour") as (_, client):
        for name, words in (("colour", "ROO_DEFAULT_MODEL"), ("held", "pinned")):
            response = client.post(f"/v1/models/{name}/unload")
            assert (response.status_code, response.json()["code"]) == (422, "cannot_load")
            assert words in response.json()["detail"]
            assert client.post(f"/v1/models/{name}/predict", content=solid(RED)).status_code == 200


def test_many_who_ask_for_the_same_change_get_it(numbered: Path) -> None:
    with open_to_all(numbered) as (server, client):
        add_numbered_version(numbered, 2)
        outcomes: list[str] = []

        def ask() -> None:
            with server.client() as own:
                outcomes.append(change(own, "load")["outcome"])

        asking = [threading.Thread(target=ask) for _ in range(8)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert len(outcomes) == 8
        assert client.get("/v1/models").json()["models"][0]["versions"][0]["version"] == "2"
        until(lambda: "answers from now on" in server.log)
        assert server.log.count("answers from now on") == 1


def test_a_changed_folder_is_seen(tmp_path: Path) -> None:
    add_colour_model(tmp_path)
    add_numbered_version(tmp_path, 1)
    with open_to_all(tmp_path, repository_poll=0.2, default_model="colour") as (server, client):

        def answering() -> list[str]:
            listed = {model["name"]: model["versions"] for model in client.get("/v1/models").json()["models"]}
            return [version["version"] for version in listed.get("numbered", [])]

        with Callers(server, "numbered") as callers:
            # A file that is copied slowly is waited for, as is a folder without its file.
            whole = (add_numbered_version(tmp_path / "elsewhere", 2) / "model.onnx").read_bytes()
            target = tmp_path / "numbered" / "2" / "model.onnx"
            target.parent.mkdir()
            write_manifest(tmp_path / "numbered", colour_manifest(sha256={"2": hashlib.sha256(whole).hexdigest()}))
            with target.open("wb") as file:
                for part in range(0, len(whole), len(whole) // 8):
                    file.write(whole[part : part + len(whole) // 8])
                    file.flush()
                    assert answering() == ["1"]
                    time.sleep(0.05)  # so that looks fall between
            until(lambda: answering() == ["2"])
            until(lambda: callers.answered[2])
            # One that stays half is told of once, and mended when its rest comes.
            target.write_bytes(whole[:1000])
            until(lambda: "stays as it was" in server.log)
            assert answering() == ["2"]
            target.write_bytes(whole)
            until(lambda: client.get("/v1/models").json()["failed"] == [])
            assert server.log.count("stays as it was") <= 2
        assert callers.wrong == []
        assert set(callers.answered) == {1, 2}
        shutil.rmtree(tmp_path / "numbered")
        until(lambda: answering() == [])
        add_numbered_version(tmp_path, 7)
        until(lambda: answering() == ["7"])
        # The default one stays, and so does everything where the whole volume is away.
        shutil.rmtree(tmp_path / "colour")
        until(lambda: "served on, though its folder is gone" in server.log)
        os.rename(tmp_path / "numbered", tmp_path.parent / "numbered-away")
        until(lambda: "has no models any more" in server.log)
        assert answering() == ["7"]
        assert client.post("/v1/predict", content=solid(RED)).status_code == 200


def test_versions_that_go_while_they_are_loaded_are_survived(numbered: Path) -> None:
    """Files are written and taken away as fast as a disk allows, while the service is told to load them."""
    with open_to_all(numbered) as (server, client), Callers(server, "numbered") as callers:
        spare = add_numbered_version(numbered.parent / "spare", 2)
        target, ended = numbered / "numbered" / "2", threading.Event()

        def flicker() -> None:
            while not ended.is_set():
                shutil.copytree(spare, target)
                shutil.rmtree(target)

        flickering = threading.Thread(target=flicker)
        flickering.start()
        try:
            statuses = {client.post("/v1/models/numbered/load").status_code for _ in range(40)}
        finally:
            ended.set()
            flickering.join()
        assert statuses <= {200, 422}
        assert change(client, "load")["versions"] == ["1"]
        assert client.get("/v1/models").json()["failed"] == []
    assert callers.wrong == []
    assert set(callers.answered) <= {1, 2}


def test_a_model_that_nobody_signed_is_not_loaded_later_either(tmp_path: Path) -> None:
    models = tmp_path / "models"
    add_colour_model(models)
    signing.generate(tmp_path / "key")
    signing.sign(models, "colour", tmp_path / "key")
    with open_to_all(models, trusted_keys=tmp_path / "key.pub") as (_, client):
        add_colour_model(models, "second")
        refused = client.post("/v1/models/second/load")
        assert (refused.status_code, refused.json()["code"]) == (422, "cannot_load")
        assert "is not signed" in refused.json()["detail"]
        signing.sign(models, "second", tmp_path / "key")
        assert change(client, "load", "second")["outcome"] == "loaded"
