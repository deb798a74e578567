"""The protocol stands behind the same gate as everything else, and its clients can read what the gate says."""

from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.api.test_auth import OLD, key_file
from tests.fixtures.pictures import solid
from tests.fixtures.server import serving


def test_keys_and_limits_hold_for_the_protocol(repository: Path, tmp_path: Path) -> None:
    keys = key_file(tmp_path, f"camera:{OLD}")
    with serving(
        repository, default_model="colour", auth="keys", api_keys_file=keys, rate_limit=0.001, rate_burst=2
    ) as server:
        image = triton.InferInput("image", [1], "BYTES")
        image.set_data_from_numpy(np.array([solid((255, 0, 0))], object))
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            with pytest.raises(InferenceServerException, match=r"\[401\] Send "):
                client.infer("colour", [image])
            for _ in range(2):
                client.infer("colour", [image], headers={"X-Api-Key": OLD})
            with pytest.raises(InferenceServerException, match=r"\[429\] "):
                client.infer("colour", [image], headers={"X-Api-Key": OLD})
        document = httpx.get(f"{server.url}/openapi.json", timeout=20).json()
        answers = document["paths"]["/v2/models/{name}/infer"]["post"]["responses"]
        assert answers["401"]["content"].keys() == {"application/json"}
        assert document["paths"]["/v2/health/ready"]["get"]["security"] == []


def test_one_model_has_the_name_that_it_is_given(repository: Path) -> None:
    with serving(repository / "colour", model_name="shelf-7") as server, server.client() as client:
        assert client.get("/v2/models/shelf-7").json()["name"] == "shelf-7"
        assert client.post("/v1/predict", content=solid((255, 0, 0))).json()["model"] == "shelf-7"


def test_without_pictures_over_http_there_is_nothing_to_ask(repository: Path) -> None:
    with serving(repository, default_model="colour", http="false") as server, server.client() as client:
        assert client.get("/v2/health/ready").json() == {"name": None, "ready": True}
        answer = client.post("/v2/models/colour/infer", json={})
        assert answer.status_code == 404
        assert "error" in answer.json()
