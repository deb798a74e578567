"""Two versions share the traffic of one service; what they answer proves which of them did."""

import base64
import json
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton

from app.assembly import build
from app.core.traffic import pick
from app.devbus.broker import Broker
from app.errors import StartupError
from app.settings import Settings
from tests.fixtures.models import DIMMING, add_versions, colour_manifest, write_manifest
from tests.fixtures.pictures import solid
from tests.fixtures.queue import picture, put, results
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import until_async

WHITE = (255, 255, 255)
SHARES = {"1": 60.0, "2": 40.0}
STAGES = {"stable": "1", "candidate": "2"}
ROBOTS = [f"robot-{number}" for number in range(8)]


def expected(key: str) -> str:
    return pick("colour", key, SHARES)


def brightness(version: str) -> float:
    """What a white picture's best class has, which proves who answered."""
    return DIMMING[version]


def answered(body: dict[str, Any]) -> str:
    """The version that a prediction says it is of, proven by its scores."""
    assert body["classes"][0]["score"] == pytest.approx(brightness(body["version"]), abs=0.01)
    return str(body["version"])


def over_http(client: httpx.Client, path: str = "/v1/predict", **headers: str) -> str:
    sent = {"content-type": "image/png", **{name.replace("_", "-"): value for name, value in headers.items()}}
    answer = client.post(path, content=solid(WHITE), headers=sent)
    assert answer.status_code == 200, answer.text
    return answered(answer.json())


def over_v2(client: httpx.Client, parameters: dict[str, str] | None = None, **headers: str) -> str:
    content = base64.b64encode(solid(WHITE)).decode()
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [content]}
    body = {"inputs": [tensor | {"parameters": {"content_type": "base64"}}], "parameters": parameters or {}}
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = client.post("/v2/models/colour/infer", json=body, headers=sent)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["model_version"])


def over_grpc(server: Server, version: str = "", **said: Any) -> str:
    content = np.array([solid(WHITE)], object)
    tensor = triton.InferInput("image", [1], "BYTES").set_data_from_numpy(content)
    with triton.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
        result = client.infer("colour", [tensor], model_version=version, **said)
    found = str(result.get_response().model_version)
    assert result.as_numpy("probabilities").max() == pytest.approx(brightness(found), abs=0.01)
    return found


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("versions")
    add_versions(root, traffic=SHARES, stages=STAGES)
    return root


async def test_a_robot_meets_one_version_whichever_way_it_asks(models: Path) -> None:
    async with Broker(["jobs,lock=60", "results,dedup=600"]) as broker:
        queue = {"servicebus_connection_string": broker.connection_string, "queue": "jobs", "results_queue": "results"}
        with serving(models, grpc_port=0, **queue) as server, server.client() as client:
            for robot in ROBOTS:
                asked = [
                    over_http(client, roo_sticky=robot),
                    over_http(client, roo_sticky=robot),
                    over_v2(client, roo_sticky=robot),
                    over_v2(client, {"sticky": robot}, roo_sticky="another"),
                    over_grpc(server, headers={"roo-sticky": robot}),
                    over_grpc(server, parameters={"sticky": robot}),
                ]
                assert asked == [expected(robot)] * 6
            sent = [picture(WHITE, f"of-{robot}", application_properties={"robot_id": robot}) for robot in ROBOTS]
            await put(broker, sent)
            found = await results(broker, len(ROBOTS))
            assert {body["robot_id"]: answered(body) for body in found.values()} == {
                robot: expected(robot) for robot in ROBOTS
            }
            await until_async(lambda: all(f"message of-{robot}: complete" in server.log for robot in ROBOTS))
        told = [json.loads(line) for line in server.lines if '"duration_ms"' in line]
        lines = [line for line in told if line.get("route") != "/readyz"]
        assert len(lines) == 7 * len(ROBOTS)
        assert Counter(line["version"] for line in lines) == Counter(
            version for robot in ROBOTS for version in [expected(robot)] * 7
        )
        assert {line["model"] for line in lines} == {"colour"}
    assert {expected(robot) for robot in ROBOTS} == {"1", "2"}


def test_who_names_nothing_is_shared_out_and_who_names_a_stage_gets_it(models: Path) -> None:
    with serving(models, grpc_port=0) as server, server.client() as client:
        identifiers = [f"request-{number}" for number in range(200)]
        got = {identifier: over_http(client, x_request_id=identifier) for identifier in identifiers}
        assert got == {identifier: expected(identifier) for identifier in identifiers}
        deviation = (200 * 0.4 * 0.6) ** 0.5
        assert abs(list(got.values()).count("2") - 80) < 4 * deviation

        for stage, version in STAGES.items():
            assert over_http(client, f"/v1/models/colour/versions/{stage}/predict") == version
            assert over_grpc(server, version=stage) == version
        missing = client.post("/v1/models/colour/versions/absent/predict", content=solid(WHITE))
        assert missing.status_code == 404
        assert "Served here: 1, 2, candidate (2), stable (1)." in missing.json()["detail"]

        one_picture = {"image": base64.b64encode(solid(WHITE)).decode()}
        for _ in range(8):  # pictures of one request are never answered by two versions
            body = client.post("/v1/predict", json={"images": [one_picture] * 4}).json()
            assert len({answered(item["prediction"]) for item in body["results"]}) == 1

        drawn = client.post("/v1/predict", content=solid(WHITE), headers={"accept": "image/png", "roo-sticky": "r7"})
        assert (drawn.headers["roo-model"], drawn.headers["roo-version"]) == ("colour", expected("r7"))

        told = client.get("/v1/models/colour").json()
        assert (told["traffic"], told["stages"]) == (SHARES, STAGES)

        for header in ("x" * 257, "robot\tseven"):
            refused = client.post("/v1/predict", content=solid(WHITE), headers={"roo-sticky": header})
            assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
            assert "Roo-Sticky" in refused.json()["detail"]


def test_a_stream_stays_with_one_version(models: Path) -> None:
    tensor = triton.InferInput("image", [1], "BYTES").set_data_from_numpy(np.array([solid(WHITE)], object))
    with serving(models, grpc_port=0) as server:
        for _ in range(4):
            found: list[str] = []
            with triton.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
                client.start_stream(
                    lambda result, error, found=found: found.append(error or result.get_response().model_version),
                    headers={"x-request-id": uuid.uuid4().hex},
                )
                for _ in range(6):
                    client.async_stream_infer("colour", [tensor])
                client.stop_stream()
            assert len(found) == 6
            assert len(set(found)) == 1


def test_the_setting_wins_over_the_manifest(models: Path) -> None:
    with serving(models, traffic="colour=1:0,2:100") as server, server.client() as client:
        assert {over_http(client, roo_sticky=robot) for robot in ROBOTS} == {"2"}
        assert client.get("/v1/models/colour").json()["traffic"] == {"1": 0, "2": 100}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("colour=1:90,2:5", "ROO_TRAFFIC: colour: traffic: the shares add up to 95, not to 100 percent"),
        ("colour=1:90,3:10", "ROO_TRAFFIC: colour: traffic names version 3, which is not served; served: 1, 2"),
        ("absent=1:100", "ROO_TRAFFIC names 'absent', which is not served. Served are: colour"),
    ],
)
def test_a_setting_that_does_not_fit_stops_the_start(models: Path, said: str, words: str) -> None:
    with pytest.raises(StartupError, match=words):
        build(Settings(models_dir=models, traffic=said))


def test_shares_that_change_in_the_manifest_hold_from_the_next_load_and_nothing_is_opened_anew(tmp_path: Path) -> None:
    folder = add_versions(tmp_path, traffic=SHARES)

    def say(shares: dict[str, float]) -> None:
        write_manifest(folder, colour_manifest(versions=["1", "2"], traffic=shares))

    with serving(tmp_path, model_control="open") as server, server.client() as client:
        say({"1": 0, "2": 100})
        assert {over_http(client, roo_sticky=robot) for robot in ROBOTS} == {"1", "2"}
        assert client.post("/v1/models/colour/load").json()["outcome"] == "loaded"
        assert {over_http(client, roo_sticky=robot) for robot in ROBOTS} == {"2"}
        assert client.post("/v1/models/colour/load").json()["outcome"] == "unchanged"
        assert not any("closed colour" in line for line in server.lines)
        say({"1": 50, "2": 20})
        refused = client.post("/v1/models/colour/load")
        assert (refused.status_code, refused.json()["code"]) == (422, "cannot_load")
        assert "add up to 70" in refused.json()["detail"]
        assert {over_http(client, roo_sticky=robot) for robot in ROBOTS} == {"2"}
