"""Models from an MLflow registry: a stand-in with its answers and, where it is installed, the server itself."""

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.errors import ModelsUnavailable, StartupError
from app.repository.sources.addresses import open_source
from tests.fixtures.mlflow_program import mlflow_program
from tests.fixtures.mlflow_server import Mlflow, mlflow_server
from tests.fixtures.models import add_colour_model
from tests.repository.sources.conftest import Told, contents, pull


@pytest.fixture
def server(released: Path, tmp_path: Path) -> Iterator[Mlflow]:
    """A registry with two versions of `colour`, of which the alias `candidate` means the first."""
    with mlflow_server() as running:
        running.versions = {"1": released / "colour", "2": add_colour_model(tmp_path / "later", description="later")}
        running.aliases = {"candidate": "1"}
        yield running


def test_an_alias_and_what_it_means_later(server: Mlflow, released: Path, into: Path) -> None:
    assert pull(server.address(), into).changed == ["colour"]
    assert contents(into / "colour") == contents(released / "colour")
    again = Told()
    assert pull(server.address(), into, again).unchanged == ["colour"]
    assert again.total == 0
    server.aliases["candidate"] = "2"
    assert pull(server.address(), into).changed == ["colour"]
    assert "later" in (into / "colour" / "model.yaml").read_text()
    assert pull(server.address("colour/1"), into).changed == ["colour"]
    assert contents(into / "colour") == contents(released / "colour")


def test_a_body_that_is_cut_is_gone_on_with(server: Mlflow, released: Path, into: Path) -> None:
    server.cuts = 3
    pull(server.address(), into)
    assert contents(into / "colour") == contents(released / "colour")
    assert "bytes=100-" in server.ranges


def test_what_is_not_there(server: Mlflow, into: Path) -> None:
    with pytest.raises(ModelsUnavailable, match="alias nope not found"):
        pull(server.address("colour@nope"), into)
    with pytest.raises(ModelsUnavailable, match="name=other not found"):
        pull(server.address("other@candidate"), into)
    server.scheme = "s3"
    with pytest.raises(ModelsUnavailable, match="has its artifacts at s3: only what the server hands out"):
        pull(server.address(), into)


def test_a_server_that_wants_to_know_who_asks(server: Mlflow, into: Path) -> None:
    server.login = "Basic " + base64.b64encode(b"robot:se cret").decode()
    with pytest.raises(ModelsUnavailable, match="wants to know who asks"):
        pull(server.address(), into)
    address = server.address().replace("//", "//robot:se%20cret@")
    assert pull(address, into).changed == ["colour"]
    assert "cret" not in open_source(address).address


def test_addresses_that_are_none() -> None:
    for address in ("mlflow+https://host", "mlflow+https://host/shelf", "mlflow+https:///shelf@a"):
        with pytest.raises(StartupError, match="mlflow\\+https://HOST/NAME@ALIAS"):
            open_source(address)
    with pytest.raises(StartupError, match="does not say which server"):
        open_source("models:/shelf@candidate")
    with pytest.raises(StartupError, match="http is for a server on this machine"):
        open_source("mlflow+http://robots.example/shelf@candidate")


def test_a_real_server(released: Path, into: Path, tmp_path: Path) -> None:
    with mlflow_program(tmp_path) as program, httpx.Client(base_url=f"{program.url}/api/2.0", timeout=60) as client:
        host = program.url.removeprefix("http://")
        run = client.post("/mlflow/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]
        kept = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
        for name, content in contents(released / "colour").items():
            client.put(f"/mlflow-artifacts/artifacts/{kept}/colour/{name}", content=content).raise_for_status()
        client.post("/mlflow/registered-models/create", json={"name": "colour"}).raise_for_status()
        version = {"name": "colour", "source": f"{run['artifact_uri']}/colour", "run_id": run["run_id"]}
        client.post("/mlflow/model-versions/create", json=version).raise_for_status()
        alias = {"name": "colour", "alias": "candidate", "version": "1"}
        client.post("/mlflow/registered-models/alias", json=alias).raise_for_status()
        assert pull(f"mlflow+http://{host}/colour@candidate", into).changed == ["colour"]
        assert contents(into / "colour") == contents(released / "colour")
        place = open_source(f"mlflow+http://{host}/colour/1")
        graph = next(file for file in place.files() if file.path.endswith("model.onnx"))
        whole = (released / graph.path).read_bytes()
        assert b"".join(place.read(graph, 50)) == whole[50:]
        place.close()
        for missing, words in (("colour@nope", "alias nope not found"), ("other@candidate", "name=other not found")):
            with pytest.raises(ModelsUnavailable, match=words):
                pull(f"mlflow+http://{host}/{missing}", into)
