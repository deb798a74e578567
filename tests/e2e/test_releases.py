"""Shares are changed and versions rolled out in a real service, under requests; a bad version is taken back."""

import itertools
import json
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.traffic import pick
from tests.fixtures.models import DIMMING, add_versions
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import until

WHITE = (255, 255, 255)
ROBOTS = [f"robot-{number}" for number in range(20)]
_numbers = itertools.count()


def answered(client: httpx.Client, robot: str | None = None) -> str:
    """Who answered, proven by what it said."""
    headers = {"x-request-id": f"request-{next(_numbers)}"} | ({"roo-sticky": robot} if robot else {})
    body = client.post("/v1/predict", content=solid(WHITE), headers=headers).json()
    assert body["classes"][0]["score"] == pytest.approx(DIMMING[body["version"]], abs=0.01)
    return str(body["version"])


def change(client: httpx.Client, **said: Any) -> httpx.Response:
    return client.post("/v1/models/colour/traffic", json=said)


def rollout(client: httpx.Client, **changes: Any) -> httpx.Response:
    known = {"to": "2", "steps": [50, 100], "every": "1s", "guards": ["error_ratio<0.5%"]}
    return client.post("/v1/models/colour/rollout", json=known | changes)


def command(server: Server, *options: str) -> "subprocess.CompletedProcess[str]":
    """`roo-vision rollout colour`, as somebody would type it."""
    arguments = [sys.executable, "-m", "app", "rollout", "colour", "--url", server.url, *options]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)


def state(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/v1/models/colour/rollout").json()
    return found


def ask_until(client: httpx.Client, phase: str) -> Counter[str]:
    """Ask until the roll-out is in that phase; who answered."""
    got: Counter[str] = Counter()
    while state(client)["phase"] != phase:
        got.update(answered(client) for _ in range(25))
        assert got.total() < 20_000
    return got


def test_shares_change_by_request_and_only_who_must_moves(tmp_path: Path) -> None:
    add_versions(tmp_path, traffic={"1": 90, "2": 10}, stages={"candidate": "2"})
    with serving(tmp_path, model_control="open") as server, server.client() as client:
        told = change(client, traffic={"1": 50, "2": 50})
        assert (told.status_code, told.json()["traffic"]) == (200, {"1": 50, "2": 50})
        after = {robot: answered(client, robot) for robot in ROBOTS}
        assert after == {robot: pick("colour", robot, {"1": 50, "2": 50}) for robot in ROBOTS}
        assert change(client, shadow={"2": 30}).json()["shadow"] == {"2": 30}
        until(lambda: "colour: changed by hand: shares 1: 50 %, 2: 50 %; shadow 2: 30 %" in server.log)
        assert client.get("/v1/models/colour").json()["traffic"] == {"1": 50, "2": 50}
        text = client.get("/metrics").text
        assert 'roo_traffic_share_ratio{model="colour",version="2"} 0.5' in text
        for said, words in (
            ({"traffic": {"1": 50, "2": 40}}, "the shares add up to 90, not to 100 percent"),
            ({"traffic": {"1": 50, "3": 50}}, "traffic names version 3, which is not served"),
            ({}, "The body changes nothing"),
            ({"shares": {}}, "shares"),
            ({"traffic": {"1": 150, "2": -50}}, "traffic.1"),
        ):
            refused = change(client, **said)
            assert refused.status_code in (400, 422), refused.text
            assert words in refused.text
        assert client.post("/v1/models/absent/traffic", json={"traffic": {"1": 100}}).status_code == 404
        assert client.post("/v1/models/colour/traffic", content=b"{" * 70_000).status_code == 400
        assert client.get("/v1/models/colour").json()["traffic"] == {"1": 50, "2": 50}


def test_who_is_no_administrator_changes_nothing(tmp_path: Path) -> None:
    add_versions(tmp_path, traffic={"1": 90, "2": 10})
    with serving(tmp_path) as server, server.client() as client:
        assert change(client, traffic={"1": 0, "2": 100}).status_code == 403
        assert rollout(client).status_code == 403
        assert client.delete("/v1/models/colour/rollout").status_code == 403
        assert command(server, "--to", "2").returncode == 1
    with serving(tmp_path, model_control="open") as server, server.client() as client:
        foreign = {"origin": "https://elsewhere.example"}
        refused = client.post("/v1/models/colour/traffic", json={"traffic": {"1": 100}}, headers=foreign)
        assert refused.status_code == 403


def test_a_good_version_gets_everything_and_stays_after_a_restart(tmp_path: Path) -> None:
    add_versions(tmp_path / "models", traffic={"1": 100})
    kept = {"rollout_dir": tmp_path / "kept", "model_control": "open"}
    with serving(tmp_path / "models", **kept) as server, server.client() as client:
        begun = command(server, "--to", "2", "--steps", "50,100", "--every", "1s", "--guard", "error_ratio<0.5%")
        assert begun.returncode == 0, begun.stderr
        assert begun.stdout.strip() == "colour to version 2: running, version 1: 50 %, version 2: 50 %"
        assert f"the roll-out of {socket.gethostname()} alone" in begun.stderr
        assert state(client)["replica"] == socket.gethostname()
        assert rollout(client).status_code == 400
        assert change(client, traffic={"1": 100}).status_code == 400
        got = ask_until(client, "done")
        assert set(got) == {"1", "2"}
        assert {answered(client) for _ in range(20)} == {"2"}
        assert "roll-out of colour to version 2: done" in server.log
    with serving(tmp_path / "models", **kept) as server, server.client() as client:
        until(lambda: state(client).get("phase") == "done")
        assert {answered(client) for _ in range(20)} == {"2"}
        assert command(server).stdout.strip() == "colour to version 2: done, version 1: 0 %, version 2: 100 %"


def test_a_bad_version_is_taken_back_and_it_says_why(tmp_path: Path) -> None:
    bad = {"classification": {"softmax": False, "top_k": 1, "score_threshold": 0.6}}  # version 2 finds nothing at all
    add_versions(tmp_path, traffic={"1": 100}, shadow={"2": 100}, **bad)
    with serving(tmp_path, model_control="open") as server, server.client() as client:
        plan = ["--to", "2", "--steps", "10,100", "--every", "1h", "--guard", "agreement>0.97"]
        with subprocess.Popen(
            [sys.executable, "-m", "app", "rollout", "colour", "--url", server.url, *plan, "--watch"],
            stdout=subprocess.PIPE,
            text=True,
        ) as watching:
            until(lambda: state(client).get("phase") == "running")
            asked = 0
            while state(client)["phase"] == "running":
                for _ in range(25):
                    assert client.post("/v1/predict", content=solid(WHITE)).status_code == 200
                asked += 25
                assert asked < 20_000
            told = watching.communicate(timeout=60)[0].splitlines()
        assert watching.returncode == 1
        assert told[-1].startswith("colour to version 2: back, version 1: 100 % (at 10 %: agreement>0.97: it is 0,")
        assert {client.post("/v1/predict", content=solid(WHITE)).json()["version"] for _ in range(30)} == {"1"}
        assert 'roo_rollout{model="colour",phase="back",version="2"} 1.0' in client.get("/metrics").text


def test_a_restart_in_the_middle_goes_on_and_one_that_is_stopped_goes_back(tmp_path: Path) -> None:
    add_versions(tmp_path / "models", traffic={"1": 100})
    kept = {"rollout_dir": tmp_path / "kept", "model_control": "open"}
    with serving(tmp_path / "models", **kept) as server, server.client() as client:
        assert rollout(client, steps=[20, 100], every="1h").status_code == 200
        server.process.kill()
    with serving(tmp_path / "models", **kept) as server, server.client() as client:
        until(lambda: state(client).get("phase") == "running")
        assert client.get("/v1/models/colour").json()["traffic"] == {"1": 80, "2": 20}
        assert command(server, "--stop").stdout.strip().endswith("back, version 1: 100 % (stopped by hand)")
        assert {answered(client) for _ in range(20)} == {"1"}
    saved = json.loads((tmp_path / "kept" / "colour.json").read_text())
    assert (saved["phase"], saved["reason"]) == ("back", "stopped by hand")


def test_who_watches_waits_for_a_service_that_is_restarted(tmp_path: Path) -> None:
    add_versions(tmp_path / "models", traffic={"1": 100})
    kept = {"rollout_dir": tmp_path / "kept", "model_control": "open"}
    with serving(tmp_path / "models", **kept) as server, server.client() as client:
        port = server.port
        arguments = ["rollout", "colour", "--to", "2", "--every", "1h", "--watch", "--url", server.url]
        pipe = subprocess.PIPE
        watching = subprocess.Popen([sys.executable, "-m", "app", *arguments], stdout=pipe, stderr=pipe, text=True)
        until(lambda: client.get("/v1/models/colour/rollout").status_code == 200)
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert watching.stdout.readline().startswith("colour to version 2: running")
        assert "alone" in watching.stderr.readline()
        server.process.kill()
    assert "does not answer" in watching.stderr.readline()
    with serving(tmp_path / "models", **kept, port=port) as server:
        assert command(server, "--stop").returncode == 0
        assert watching.communicate(timeout=60)[0].splitlines()[-1].endswith("(stopped by hand)")
    assert watching.returncode == 1


def test_a_plan_that_is_none_is_refused_in_one_sentence(tmp_path: Path) -> None:
    add_versions(tmp_path, traffic={"1": 100})
    with serving(tmp_path, model_control="open") as server, server.client() as client:
        for changes, words in (
            ({"guards": ["speed<1x"]}, "there is no metric 'speed' to guard; there are error_ratio, p50"),
            ({"guards": ["agreement>0.9"]}, "give version 2 a share under `shadow` first"),
            ({"steps": [50, 20, 100]}, "the steps must rise"),
            ({"every": "soon"}, "a time is a number and s, m or h"),
            ({"to": "3"}, "has no version '3'"),
        ):
            refused = rollout(client, **changes)
            assert refused.status_code in (400, 404, 422)
            assert words in refused.text
        absent = client.get("/v1/models/colour/rollout")
        assert (absent.status_code, "at this replica; each has its own" in absent.text) == (404, True)
        typed = command(server, "--to", "2", "--guard", "p99>1.2x")
        assert (typed.returncode, "p99 must be below its limit" in typed.stderr) == (1, True)
        for option, value, words in (("--steps", "five", "give percent with commas"), ("--every", "5", "such as 10m")):
            typed = command(server, "--to", "2", option, value)
            assert (typed.returncode, words in typed.stderr, "type=" in typed.stderr) == (2, True, False)
        assert client.get("/v1/models/colour").json()["traffic"] == {"1": 100}


def test_a_traffic_file_holds_as_soon_as_the_model_is_loaded_again(tmp_path: Path) -> None:
    folder = add_versions(tmp_path, traffic={"1": 100})
    with serving(tmp_path, model_control="open") as server, server.client() as client:
        assert change(client, traffic={"1": 60, "2": 40}).status_code == 200
        assert client.post("/v1/models/colour/load").json()["outcome"] == "unchanged"
        assert client.get("/v1/models/colour").json()["traffic"] == {"1": 60, "2": 40}
        (folder / "traffic.yaml").write_text("traffic: {1: 0, 2: 100}")
        assert client.post("/v1/models/colour/load").json()["outcome"] == "loaded"
        assert {answered(client) for _ in range(20)} == {"2"}
        assert server.log.count("loaded Model(colour") == 2  # at the start, and never again
        until(lambda: "colour: shares 1: 0 %, 2: 100 % from now on, as the repository says" in server.log)
        assert "answers from now on" not in server.log  # the same versions do
        (folder / "traffic.yaml").write_text("traffic: {1: 0, 2: 90}")
        refused = client.post("/v1/models/colour/load")
        assert (refused.status_code, refused.json()["code"]) == (422, "cannot_load")
        assert "the shares add up to 90" in refused.json()["detail"]
        assert {answered(client) for _ in range(20)} == {"2"}
