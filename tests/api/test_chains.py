"""A chain served: over HTTP in every form, the Open Inference Protocol, the client, the command line; and changed."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
from PIL import Image

from app.client import Client
from app.wire.prediction import Prediction
from tests.commands.test_cli import roo
from tests.fixtures.chains import (
    ONE_STEP,
    add_cells_model,
    add_chain,
    cell_box,
    cells,
    colours_in,
    expected,
    write_pipeline,
)
from tests.fixtures.models import add_colour_model
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import until
from tests.telemetry.collector import Collector, collecting

COLOURS = {1: (220, 10, 20), 6: (30, 200, 40), 11: (50, 60, 180)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    add_chain(root)
    return root


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def server(models: Path, collector: Collector) -> Iterator[Server]:
    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    settings = {"model_control": "open", "default_model": "chain", "grpc_port": 0, "lanes": 2}
    with serving(models, exporting, **settings) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def test_one_picture(client: httpx.Client) -> None:
    response = client.post("/v1/predict", content=cells(COLOURS))
    assert response.status_code == 200, response.text
    assert colours_in(response.json()) == expected(COLOURS)
    assert Prediction.model_validate(response.json()).chain is not None
    by_name = client.post("/v1/models/chain/versions/1/predict?coordinates=normalized", content=cells(COLOURS))
    box = by_name.json()["detections"][0]
    assert box["box"] == box["steps"]["colour"]["crop"]
    assert max(box["box"]) <= 1


def test_several_pictures_of_which_one_is_damaged(client: httpx.Client) -> None:
    files = [("image", ("a.png", cells(COLOURS))), ("image", ("b.png", b"no picture")), ("image", ("c.png", cells({})))]
    first, damaged, empty = client.post("/v1/models/chain/predict", files=files).json()["results"]
    assert colours_in(first["prediction"]) == expected(COLOURS)
    assert damaged["error"]["code"] == "unsupported_image"
    assert empty["prediction"]["detections"] == []


def test_what_the_models_say_is_drawn_below_the_boxes(client: httpx.Client) -> None:
    content = cells({5: (220, 10, 20)})
    plain = client.post("/v1/models/cells/predict", content=content, headers={"accept": "image/png"})
    chained = client.post("/v1/predict", content=content, headers={"accept": "image/png"})
    assert chained.headers["roo-model"] == "chain"
    pictures = [np.asarray(Image.open(io.BytesIO(each.content))).astype(int) for each in (plain, chained)]
    changed = np.argwhere(np.abs(pictures[0] - pictures[1]).max(axis=2) > 30)
    assert len(changed) > 20
    assert changed[:, 0].min() >= cell_box(5)[3]


def test_models_list_chains_with_their_steps(client: httpx.Client) -> None:
    told = {model["name"]: model for model in client.get("/v1/models").json()["models"]}
    assert set(told) == {"cells", "chain", "colour"}
    assert told["cells"]["chain"] is None
    chain = told["chain"]
    assert (chain["default"], chain["task"], chain["labels"]) == (True, "detection", ["red", "green", "blue"])
    assert [(step["name"], step["model"], step["on"]) for step in chain["chain"]] == [
        ("find", "cells", None),
        ("colour", "colour", "find"),
    ]
    assert client.get("/v1/models/chain").json() == chain


def test_a_chain_has_no_shares_and_takes_no_tensors(client: httpx.Client) -> None:
    refused = client.post("/v1/models/chain/rollout", json={"to": "2"})
    assert refused.status_code == 404
    assert "is a chain" in refused.json()["detail"]
    missing = client.post("/v1/models/chain/versions/2/predict", content=cells({}))
    assert (missing.status_code, missing.json()["code"]) == (404, "model_not_found")
    rows = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1], "data": [1.0]}]}
    tensors = client.post("/v2/models/chain/infer", json=rows)
    assert tensors.status_code == 400
    assert "takes one input, image (BYTES" in tensors.text


def test_the_protocol_over_http_and_grpc(server: Server) -> None:
    pictures = np.array([cells(COLOURS), cells({0: (9, 220, 9)})], object)
    http = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    grpc = triton_grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}")
    for client, library in ((http, triton), (grpc, triton_grpc)):
        with client:
            assert client.is_model_ready("chain")
            tensor = library.InferInput("image", [2], "BYTES")
            tensor.set_data_from_numpy(pictures)
            answers = client.infer("chain", [tensor]).as_numpy("answers")
            assert [colours_in(json.loads(answer)) for answer in answers] == [
                expected(COLOURS),
                expected({0: (9, 220, 9)}),
            ]
            client.get_model_metadata("chain")
            client.get_model_config("chain")


def test_the_client_has_its_types(server: Server) -> None:
    with Client(server.url) as client:
        answer = client.predict(cells(COLOURS), model="chain")
        assert client.model("chain").chain is not None
    assert answer.detections is not None
    assert answer.chain is not None
    assert answer.chain[1].crops is not None
    assert answer.chain[1].crops.asked == 3
    steps = answer.detections[0].steps
    assert steps is not None
    assert steps["colour"].classes is not None
    assert steps["colour"].classes[0].label == answer.detections[0].label


@pytest.mark.parametrize("remote", [True, False])
def test_the_command_line(server: Server, models: Path, tmp_path: Path, remote: bool) -> None:
    (tmp_path / "cells.png").write_bytes(cells(COLOURS))
    where = ("--url", server.url) if remote else ("--models-dir", models)
    wanted = ("--model", "chain", "--out", tmp_path / "out", "--format", "drawn,jsonl,csv", "--normalized")
    done = roo("predict", tmp_path / "cells.png", *wanted, *where)
    assert done.returncode == 0, done.stderr
    assert "1 blue, 1 green, 1 red; colour: " in done.stdout
    line = json.loads((tmp_path / "out" / "predictions.jsonl").read_text())
    found = line["prediction"]["detections"][0]
    assert found["steps"]["colour"]["crop"] == found["box"]
    assert max(found["box"]) <= 1
    assert (tmp_path / "out" / "cells.jpg").is_file()


def test_the_trace_shows_each_step(client: httpx.Client, collector: Collector) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    client.post("/v1/predict", content=cells(COLOURS), headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})

    def names() -> set[str]:
        return {span.name for span in collector.spans if span.trace_id.hex() == trace}

    until(lambda: {"step find", "step colour", "cut", "compute"} <= names())


def test_metrics_tell_chains_and_crops_apart(client: httpx.Client) -> None:
    client.post("/v1/predict", content=cells(COLOURS))
    text = client.get("/metrics").text
    assert 'roo_chains_total{chain="chain",outcome="ok",source="http"}' in text
    assert 'roo_crops_total{model="colour",outcome="ok",source="http",version="1"}' in text


def test_a_changed_chain_is_loaded_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    """The states that a repository goes through while the service runs."""
    add_cells_model(tmp_path)
    write_pipeline(tmp_path / "chain", ONE_STEP)
    with (
        serving(tmp_path, model_control="open", load="on-demand", lanes=1) as server,
        server.client() as client,
    ):

        def change(verb: str, name: str) -> httpx.Response:
            return client.post(f"/v1/models/{name}/{verb}")

        def failed() -> dict[str, str]:
            return {each["name"]: each["reason"] for each in client.get("/v1/models").json()["failed"]}

        assert "asks colour, and there is no such model" in failed()["chain"]
        assert client.post("/v1/models/chain/predict", content=cells(COLOURS)).status_code == 404
        add_colour_model(tmp_path)
        assert change("load", "colour").status_code == 200
        assert failed() == {}
        answer = client.post("/v1/models/chain/predict", content=cells(COLOURS))  # `cells` is loaded for it
        assert colours_in(answer.json()) == expected(COLOURS)

        write_pipeline(tmp_path / "chain", {"find": {"model": "cells"}}, version=2)
        assert change("load", "chain").json()["versions"] == ["2"]
        assert change("load", "chain").json()["outcome"] == "unchanged"
        answer = client.post("/v1/models/chain/predict", content=cells(COLOURS))
        assert (answer.json()["version"], len(answer.json()["chain"])) == ("2", 1)

        (tmp_path / "chain" / "pipeline.yaml").write_text("steps: [")
        assert change("load", "chain").status_code == 422
        assert client.post("/v1/models/chain/predict", content=cells({})).status_code == 200  # the state before
        assert client.get("/v1/models").json()["failed"][0]["serving"] is True

        write_pipeline(tmp_path / "chain", ONE_STEP)
        assert change("load", "chain").status_code == 200
        assert change("unload", "colour").status_code == 200
        assert "asks colour, and there is no such model" in failed()["chain"]
        assert change("load", "colour").status_code == 200
        assert failed() == {}
        assert change("unload", "chain").json()["outcome"] == "unloaded"
        assert client.post("/v1/models/chain/predict", content=cells({})).status_code == 404
