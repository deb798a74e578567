"""Probes, the model list, metrics, the documentation."""

import hashlib
import re

import httpx
import pytest

from app.api.documentation import FILES, FOLDER
from tests.fixtures.pictures import solid


def test_probes_say_that_all_is_well(client: httpx.Client) -> None:
    for path in ("/livez", "/startupz", "/readyz"):
        response = client.get(path)
        assert (response.status_code, response.json()["status"]) == (200, "ok")
    checks = client.get("/readyz").json()["checks"]
    assert checks["models"] == "box, colour"
    assert "alive" in checks["lanes"]
    assert checks["device"].startswith("cpu (asked: auto;")


def test_models_are_listed_and_described(client: httpx.Client) -> None:
    models = client.get("/v1/models").json()["models"]
    assert [(model["name"], model["task"], model["default"]) for model in models] == [
        ("box", "detection", False),
        ("colour", "classification", True),
    ]
    colour = client.get("/v1/models/colour").json()
    assert colour["labels"] == ["red", "green", "blue"]
    assert [version["version"] for version in colour["versions"]] == ["1", "2"]
    reason = colour["versions"][0].pop("device_reason")
    assert reason, "says why it is this device"
    assert colour["versions"][0].pop("decode_reason") == "the model computes on the CPU"
    assert colour["versions"][0] == {
        "version": "1",
        "engine": "onnx",
        "precision": "fp32",
        "precision_reason": "the fastest that manifest, engine and device allow",
        "device": "cpu",
        "device_asked": "auto",
        "decode_device": "cpu",
        "max_batch_size": 4,
        "batch_reason": "the manifest's",
        "input_shape": [3, 16, 16],
        "input_dtype": "float32",
    }


def test_metrics_count_what_was_answered(client: httpx.Client) -> None:
    def count(outcome: str) -> float:
        found = re.search(
            rf'^roo_requests_total\{{model="[a-z]*",outcome="{outcome}",source="http",version="[0-9]*"\}} (\S+)$',
            client.get("/metrics").text,
            re.MULTILINE,
        )
        return float(found.group(1)) if found else 0.0

    good, bad = count("ok"), count("unsupported_image")
    client.post("/v1/predict", content=solid((1, 2, 3)))
    client.post("/v1/predict", content=b"no picture")
    assert (count("ok"), count("unsupported_image")) == (good + 1, bad + 1)


def test_metrics_have_stages_batches_and_the_queue(client: httpx.Client) -> None:
    client.post("/v1/predict", content=solid((1, 2, 3)))
    text = client.get("/metrics").text
    for stage in ("queue", "decode", "prepare", "compute", "finish"):
        assert f'roo_stage_seconds_count{{model="colour",source="http",stage="{stage}",version="2"}}' in text
    for name in ("roo_batch_size_bucket", 'roo_waiting{priority="bulk"}', "roo_in_flight", "roo_lanes", "roo_device"):
        assert name in text


def test_the_documentation_has_real_examples(client: httpx.Client) -> None:
    assert client.get("/docs").status_code == 200
    schema = client.get("/openapi.json").json()
    post = schema["paths"]["/v1/predict"]["post"]
    assert "image/jpeg" in post["requestBody"]["content"]
    assert "multipart/form-data" in post["requestBody"]["content"]
    assert {"400", "413", "415", "422", "500", "503", "504"} <= set(post["responses"])
    assert schema["components"]["schemas"]["Prediction"]["examples"][0]["detections"]
    assert "Problem" in schema["components"]["schemas"]


def test_the_documentation_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs")
    links = set(re.findall(r'(?:src|href)="([^"]+)"', page.text))
    assert links == {f"docs/{name}" for name in FILES}
    for link in links:
        assert client.get(f"/{link}").content == (FOLDER / link.removeprefix("docs/")).read_bytes()
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert "<script>" not in page.text


def test_swagger_ui_is_the_one_that_was_published() -> None:
    """The files of npm's `swagger-ui-dist` 5.35.0: a change of theirs is a change of version."""
    pinned = {
        "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
        "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
    }
    found = {name: hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() for name in pinned}
    assert found == pinned
    assert "Apache License" in (FOLDER / "LICENSE").read_text()


@pytest.mark.parametrize(
    "path", ["/livez", "/startupz", "/readyz", "/metrics", "/v1/models", "/v1/models/box", "/docs"]
)
def test_head_is_answered_as_get_without_the_body(client: httpx.Client, path: str) -> None:
    head, got = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert client.head("/nothing").status_code == 404
    assert client.head("/v1/predict").status_code == 405


@pytest.mark.parametrize("path", ["/", "/redoc"])
def test_the_front_door_leads_to_the_documentation(client: httpx.Client, path: str) -> None:
    response = client.get(path, follow_redirects=True)
    assert (response.status_code, response.url.path) == (200, "/docs")
