"""Pictures in every form, answers in types."""

from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.client import InvalidRequest, Limits, Prediction, Refused, asking, pictures
from app.wire.predict_options import PredictOptions
from tests.client.conftest import Connect
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server

ORANGE, RED, BLUE = (255, 128, 0), (255, 0, 0), (0, 0, 255)


def colour(prediction: Prediction) -> tuple[float, ...]:
    assert prediction.classes is not None
    scores = {found.label: found.score for found in prediction.classes}
    return scores["red"], scores["green"], scores["blue"]


def test_every_form_of_a_picture(connect: Connect, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(solid(ORANGE))
    pixels = np.full((48, 64, 3), ORANGE, np.uint8)
    forms: list[Any] = [file, str(file), file.read_bytes(), bytearray(file.read_bytes()), pixels, pixels[::2, ::-1]]
    forms += [Image.fromarray(pixels), Image.fromarray(pixels).convert("RGBA"), Image.fromarray(pixels).convert("P")]
    with connect(server.url) as client:
        for form in forms:
            assert colour(client.predict(form)) == pytest.approx((1, 0.5, 0), abs=0.01)
        assert colour(client.predict(np.full((48, 64), 128, np.uint8))) == pytest.approx((0.5, 0.5, 0.5), abs=0.01)


@pytest.mark.parametrize(
    "wrong",
    [[1, 2], None, np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_picture_is_not_sent(connect: Connect, wrong: Any) -> None:
    with connect("http://localhost:1") as client, pytest.raises(InvalidRequest, match=r"A picture is|Pixels are"):
        client.predict(wrong)


def test_a_file_that_is_not_there(connect: Connect) -> None:
    with connect("http://localhost:1") as client, pytest.raises(FileNotFoundError):
        client.predict("nowhere.jpg")


def test_models_and_versions(connect: Connect, server: Server) -> None:
    with connect(server.url) as client:
        assert {(model.name, model.task) for model in client.models()} >= {("colour", "classification")}
        assert client.model("colour").labels == ["red", "green", "blue"]
        assert client.ready()
        assert client.predict(solid(RED), model="colour", version="1").version == "1"
        (box,) = client.predict(solid(RED), model="box").detections
        assert box.label == "red"
        with pytest.raises(Refused, match="There is no model 'no body'") as raised:
            client.predict(solid(RED), model="no body")
        assert (raised.value.status, raised.value.code, raised.value.retryable) == (404, "model_not_found", False)
        assert raised.value.request_id
        with pytest.raises(InvalidRequest, match="name the model too"):
            client.predict(solid(RED), version="1")


def test_options_are_keywords(connect: Connect, server: Server) -> None:
    with connect(server.url) as client:
        assert len(client.predict(solid(RED), top_k=1, priority="bulk", score_threshold=None).classes) == 1
        with pytest.raises(InvalidRequest, match="topk: Extra inputs"):
            client.predict(solid(RED), topk=1)
        with pytest.raises(InvalidRequest, match="score_threshold: Input should be less than or equal to 1"):
            client.predict_many([solid(RED)], score_threshold=2)


EXAMPLES: dict[str, list[Any]] = {"boolean": [True, False], "integer": [7], "number": [0.25]}
OWN_EXAMPLES: dict[str, list[Any]] = {
    "region": [[1, 2, 3, 4], "0.5,0,0.25,1"],
    "tiles": [640, "640,0.1", "none", {"size": 640, "overlap": 0.1, "whole_too": False}],
}


@pytest.mark.parametrize("name", PredictOptions.model_fields)
def test_every_option_is_read_as_it_was_given(name: str) -> None:
    described = PredictOptions.model_json_schema()["properties"][name]
    kinds = described.get("anyOf", [described])
    values = [value for kind in kinds for value in kind.get("enum", EXAMPLES.get(kind.get("type"), []))]
    values += [["carton", 3]] if any(kind.get("type") == "array" for kind in kinds) else []
    values = OWN_EXAMPLES.get(name, values)
    assert values, described
    for value in values:
        sent = httpx.QueryParams(asking.one(b"", asking.Asked(None, None, None, {name: value}), "").query)
        assert PredictOptions.model_validate(dict(sent)) == PredictOptions.model_validate({name: value})


def test_several_pictures_are_answered_in_their_order(connect: Connect, server: Server) -> None:
    levels = list(range(0, 250, 25))
    pictures: list[Any] = [solid((level, 0, 0)) for level in levels]
    pictures[3] = pictures[3][:60]
    pictures[7] = b"no picture"
    with connect(server.url, limits=Limits(pictures=4)) as client:
        answers = client.predict_many(pictures, model="colour")
        assert client.predict_many([]) == []
    assert len(answers) == 10
    for place, (level, answer) in enumerate(zip(levels, answers, strict=True)):
        if place in (3, 7):
            assert isinstance(answer, Refused)
            assert answer.code == {3: "invalid_image", 7: "unsupported_image"}[place]
        else:
            assert colour(answer)[0] == pytest.approx(level / 255, abs=0.01)


def test_where_all_fail_each_has_the_error(connect: Connect, server: Server) -> None:
    with connect(server.url) as client:
        answers = client.predict_many([b"no picture", b"neither"])
        assert [answer.status for answer in answers] == [415, 415]
        with pytest.raises(Refused, match="There is no model"):
            client.predict_many([solid(RED)] * 2, model="nobody")
        with pytest.raises(Refused, match="more than 4 pictures"):  # this service's limit is below the client's
            client.predict_many([solid(RED)] * 5)


def test_a_picture_that_is_too_large_is_refused_alone(connect: Connect, server: Server) -> None:
    large = solid(RED) + bytes(2**21)
    with connect(server.url, limits=Limits(bytes=2**20)) as client:
        first, middle, last = client.predict_many([solid(RED), large, solid(BLUE)])
    assert isinstance(middle, Refused)
    assert middle.status == 413
    assert (colour(first)[0], colour(last)[2]) == (1, 1)


def test_requests_are_as_few_as_the_limits_allow() -> None:
    def split(*sizes: int) -> list[list[int]]:
        return [list(sizes[part]) for part in asking.parts(sizes, Limits(pictures=3, bytes=10))]

    assert split() == []
    assert split(1, 1, 1, 1) == [[1, 1, 1], [1]]
    assert split(5, 5, 1, 11, 1) == [[5, 5], [1], [11], [1]]


@pytest.mark.parametrize(("media_type", "begins"), [("image/jpeg", b"\xff\xd8"), ("image/png", b"\x89PNG")])
def test_drawn_answers(connect: Connect, server: Server, media_type: str, begins: bytes) -> None:
    with connect(server.url) as client:
        assert client.draw(solid(RED), model="box", media_type=media_type).startswith(begins)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_an_image_of_pillow_is_the_picture_that_its_png_is(mode: str) -> None:
    flat = Image.new("RGB", (8, 8), ORANGE).convert("L" if mode == "I;16" else mode)
    image = Image.fromarray(np.asarray(flat).astype(np.uint16) * 257) if mode == "I;16" else flat
    if mode in ("LA", "RGBA"):
        image.putalpha(0)
    sent = Image.open(BytesIO(pictures.read(image)))
    assert sent.mode == mode
    assert np.array_equal(np.asarray(sent), np.asarray(image))


@pytest.mark.parametrize("mode", ["I", "F", "I;16B"])
def test_an_image_of_pillow_without_a_known_range_is_refused(mode: str) -> None:
    with pytest.raises(InvalidRequest, match=f"mode {mode} has no known range"):
        pictures.read(Image.new(mode, (8, 8)))


@pytest.mark.parametrize("key", ["x\n", "ü", "a\x00b"])
def test_a_key_that_no_header_takes_is_refused_at_once(server: Server, connect: Connect, key: str) -> None:
    with connect(server.url, api_key=key) as client, pytest.raises(InvalidRequest, match="no header takes"):
        client.predict(solid(RED))


def test_an_address_without_its_scheme_is_named(connect: Connect) -> None:
    with (
        pytest.raises(InvalidRequest, match="'localhost:8000' is no address of a service; it begins with http://"),
        connect("localhost:8000"),
    ):
        pass


def test_a_version_may_be_a_number(server: Server, connect: Connect) -> None:
    with connect(server.url) as client:
        assert client.predict(solid(RED), model="colour", version=1).version == "1"
