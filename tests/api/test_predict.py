"""POST pictures in every documented way; the answers prove which picture they are for."""

import base64
import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.fixtures.pictures import Colour, solid

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
JPEG = {"content-type": "image/jpeg"}
PNG = {"content-type": "image/png"}


def seen(prediction: dict[str, Any]) -> Colour:
    shares = {item["label"]: round(item["score"] * 255) for item in prediction["classes"]}
    return shares["red"], shares["green"], shares["blue"]


def test_a_raw_picture_is_answered(client: httpx.Client) -> None:
    response = client.post("/v1/predict", content=solid((10, 200, 30), (320, 200)), headers=PNG)
    assert response.status_code == 200
    answer = response.json()
    assert seen(answer) == (10, 200, 30)
    assert (answer["model"], answer["version"]) == ("colour", "2")
    assert answer["image"] == {"width": 320, "height": 200}
    assert answer["detections"] is None
    assert answer["batch_size"] == 1
    assert set(answer["timings_ms"]) == {"queue", "decode", "prepare", "compute", "finish", "total"}
    assert answer["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "declared", ["image/jpeg", "application/octet-stream", "application/x-www-form-urlencoded", None]
)
def test_the_format_is_sniffed_whatever_is_declared(client: httpx.Client, kind: str, declared: str | None) -> None:
    headers = {} if declared is None else {"content-type": declared}
    response = client.post("/v1/predict", content=solid(RED, kind=kind), headers=headers)
    assert response.status_code == 200
    assert np.allclose(seen(response.json()), RED, atol=4)


def test_a_named_model_and_version(client: httpx.Client) -> None:
    for path, version in (("/v1/models/colour", "2"), ("/v1/models/colour/versions/1", "1")):
        answer = client.post(f"{path}/predict", content=solid(BLUE), headers=PNG).json()
        assert (answer["version"], seen(answer)) == (version, BLUE)


def test_detections_have_boxes_in_pixels_of_the_picture_sent(client: httpx.Client) -> None:
    answer = client.post("/v1/models/box/predict", content=solid(GREEN, (640, 400)), headers=PNG).json()
    assert answer["classes"] is None
    assert answer["detections"] == [
        {
            "label": "green",
            "class_id": 1,
            "score": 1.0,
            "box": [160.0, 100.0, 480.0, 300.0],
            "text": None,
            "format": None,
            "codes": [],
        }
    ]
    assert answer["inventory"] == {"counts": {"red": 0, "green": 1, "blue": 0}, "texts": []}


def test_options_in_the_query(client: httpx.Client) -> None:
    grey = solid((100, 110, 120))
    assert client.post("/v1/models/box/predict", content=grey).json()["detections"] == []
    found = client.post("/v1/models/box/predict?score_threshold=0.3&max_detections=2", content=grey).json()
    assert len(found["detections"]) <= 2
    assert found["detections"][0]["label"] == "blue"
    assert len(client.post("/v1/predict?top_k=1", content=grey).json()["classes"]) == 1
    assert client.post("/v1/predict?priority=bulk&deadline_ms=20000", content=grey).status_code == 200


@pytest.mark.parametrize("classes", ["green", "1", "red,green"])
def test_a_filter_on_classes_in_query_form_and_json(client: httpx.Client, classes: str) -> None:
    path, content = "/v1/models/box/predict", solid(GREEN)
    body = {"images": [{"image": base64.b64encode(content).decode()}]}
    raw = client.post(path, params={"classes": classes}, content=content).json()
    form = client.post(path, data={"classes": classes}, files={"image": content}).json()["results"][0]["prediction"]
    (text, listed) = (
        client.post(path, json={**body, "classes": value}).json()["results"][0]["prediction"]
        for value in (classes, classes.split(","))
    )
    for answer in (raw, form, text, listed):
        assert [item["label"] for item in answer["detections"]] == ["green"]
    assert client.post(path, params={"classes": "blue"}, content=content).json()["detections"] == []
    for again in (
        client.post(path, params={"classes": ["blue", "green"]}, content=content).json(),
        client.post(path, data={"classes": ["blue", "green"]}, files={"image": content}).json()["results"][0][
            "prediction"
        ],
    ):
        assert len(again["detections"]) == 1


def test_classes_of_a_classification(client: httpx.Client) -> None:
    answer = client.post("/v1/predict?classes=blue,red&top_k=1", content=solid((90, 200, 30))).json()
    assert [item["label"] for item in answer["classes"]] == ["red"]


@pytest.mark.parametrize(
    ("path", "said", "hint"),
    [
        ("/v1/models/box/predict", {"classes": "gren"}, "no class 'gren'. Near it is: green."),
        ("/v1/predict", {"classes": "7"}, "numbered 0 to 2"),
        ("/v1/predict", {"iou_threshold": 0.5}, "iou_threshold cannot be obeyed: the model is a classification"),
        ("/v1/models/box/predict", {"top_k": 2}, "top_k cannot be obeyed"),
    ],
)
def test_what_cannot_be_obeyed_is_an_error(client: httpx.Client, path: str, said: dict[str, Any], hint: str) -> None:
    for response in (
        client.post(path, params=said, content=solid(GREEN)),
        client.post(path, data=said, files={"image": solid(GREEN)}),
    ):
        assert response.status_code == 400
        assert hint in response.json()["detail"]


def test_boxes_in_shares_of_the_picture(client: httpx.Client) -> None:
    path, content = "/v1/models/box/predict?coordinates=normalized", solid(GREEN, (640, 400))
    answer = client.post(path, content=content).json()
    assert answer["coordinates"] == "normalized"
    assert answer["detections"][0]["box"] == [0.25, 0.25, 0.75, 0.75]
    assert answer["image"] == {"width": 640, "height": 400}
    drawn = client.post(path, content=content, headers={"accept": "image/jpeg"})
    usual = client.post("/v1/models/box/predict", content=content, headers={"accept": "image/jpeg"})
    assert drawn.content == usual.content


def test_several_files_in_one_request_get_one_answer_each(client: httpx.Client) -> None:
    files = [
        ("image", ("red.png", solid(RED), "image/png")),
        ("image", ("broken.jpg", solid(GREEN, (400, 300), "JPEG")[:900], "image/jpeg")),
        ("other", ("blue.png", solid(BLUE), "image/png")),
    ]
    results = client.post("/v1/predict", files=files).json()["results"]
    assert [item["id"] for item in results] == ["red.png", "broken.jpg", "blue.png"]
    assert (seen(results[0]["prediction"]), seen(results[2]["prediction"])) == (RED, BLUE)
    assert results[1]["prediction"] is None
    assert results[1]["error"]["code"] == "invalid_image"
    assert results[1]["error"]["status"] == 422


def test_a_large_file_in_a_form_stays_whole(client: httpx.Client) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (500, 600, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    assert len(buffer.getvalue()) > 2**19
    results = client.post("/v1/predict", files={"image": ("noise.png", buffer.getvalue())}).json()["results"]
    assert results[0]["prediction"]["image"] == {"width": 600, "height": 500}


def test_base64_in_json_with_options_of_its_own(client: httpx.Client) -> None:
    body = {
        "images": [
            {"image": base64.b64encode(solid(GREEN)).decode(), "id": "g"},
            {"image": "not base64!", "id": "b"},
            {"image": base64.b64encode(b"no picture").decode()},
        ],
        "top_k": 2,
    }
    results = client.post("/v1/predict?top_k=1", json=body).json()["results"]
    classes = results[0]["prediction"]["classes"]
    assert classes[0]["label"] == "green"
    assert len(classes) == 2
    assert (results[1]["id"], results[1]["error"]["code"]) == ("b", "invalid_request")
    assert (results[2]["id"], results[2]["error"]["code"]) == (None, "unsupported_image")


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/png"])
def test_the_picture_can_come_back_drawn_on(client: httpx.Client, media_type: str) -> None:
    content = solid(GREEN, (640, 400))
    response = client.post("/v1/models/box/predict", content=content, headers={**PNG, "accept": media_type})
    assert response.headers["content-type"] == media_type
    drawn = Image.open(io.BytesIO(response.content))
    assert drawn.get_format_mimetype() == media_type
    assert drawn.size == (640, 400)
    pixels = np.asarray(drawn.convert("RGB")).astype(int)
    changed = np.abs(pixels - GREEN).sum(axis=2) > 90
    assert changed[:, 158:163].any()
    assert not changed[200, 300], "the box is drawn, not filled"


def test_accept_prefers_by_quality(client: httpx.Client) -> None:
    content = solid(GREEN)
    for accept, expected in (
        ("image/png;q=0.5, application/json", "application/json"),
        ("application/json;q=0.1, image/*;q=0.9", "image/jpeg"),
        ("text/html, */*;q=0.1", "application/json"),
    ):
        response = client.post("/v1/models/box/predict", content=content, headers={"accept": accept})
        assert response.headers["content-type"] == expected, accept


def test_exif_orientation_turns_boxes_and_size(client: httpx.Client) -> None:
    picture = Image.new("RGB", (640, 400), GREEN)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif)
    answer = client.post("/v1/models/box/predict", content=buffer.getvalue(), headers=JPEG).json()
    assert answer["image"] == {"width": 400, "height": 640}
    assert answer["detections"][0]["box"] == [100.0, 160.0, 300.0, 480.0]


def test_the_request_id_is_echoed(client: httpx.Client) -> None:
    response = client.post("/v1/predict", content=solid(RED), headers={"x-request-id": "robot-7/shelf-3"})
    assert response.headers["x-request-id"] == response.json()["request_id"] == "robot-7/shelf-3"
    assert client.get("/nothing", headers={"x-request-id": "lost"}).headers["x-request-id"] == "lost"
    made = client.get("/livez", headers={"x-request-id": "x" * 200}).headers["x-request-id"]
    assert len(made) == 32
