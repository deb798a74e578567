"""Dead letters over HTTP: who may look and who may work them off, and what becomes of them."""

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.fixtures.bus_thread import BusThread, bus_thread
from tests.fixtures.letters import bury, purge
from tests.fixtures.pictures import png_header_claiming, solid
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import until
from tests.servicebus.wire import octets

CAMERA, VIEWER, OPERATOR = "a-cameras-own-and-secret-key", "a-viewers-own-and-secret-key", "an-operators-own-secret-key"
RED = (255, 0, 0)
ALL: dict[str, Any] = {"queue": "jobs", "matching": {}}


@pytest.fixture(scope="module")
def bus() -> Iterator[BusThread]:
    with bus_thread("jobs,lock=60", "results") as running:
        yield running


@pytest.fixture(scope="module")
def audit_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "audit.jsonl"


@pytest.fixture(scope="module")
def server(
    repository: Path, bus: BusThread, audit_log: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"camera:{CAMERA}\nvera:{VIEWER} viewer\notto:{OPERATOR} operator\n")
    queue = {"servicebus_connection_string": bus.connection_string, "queue": "jobs", "results_queue": "results"}
    known = {"default_model": "colour", "auth": "keys", "api_keys_file": keys, "audit_log": audit_log}
    with serving(repository, **known, **queue, max_pixels=10**6) as running:
        yield running


@pytest.fixture(autouse=True)
def empty(bus: BusThread) -> None:
    """No letter of another test is left."""
    bus.call(lambda broker: purge(*_all(broker)))


def _all(broker: Any) -> list[Any]:
    jobs = broker.queue("jobs")
    return [jobs, jobs.dead_letters, broker.queue("results")]


def asking(server: Server, key: str) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"x-api-key": key}, timeout=60)


@pytest.fixture
def operator(server: Server) -> Iterator[httpx.Client]:
    with asking(server, OPERATOR) as client:
        yield client


def bury_pictures(bus: BusThread, count: int, reason: str = "ModelNotFound", **fields: Any) -> None:
    messages = [
        octets(solid(RED), message_id=f"m{number}", content_type="image/png", **fields) for number in range(count)
    ]
    bus.call(lambda broker: bury(broker, *messages, reason=reason, description="There is none."))


def listed(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    following: str | None = "0"
    while following is not None:
        page = client.get("/v1/dead-letters", params={"queue": "jobs", "start": following, **query})
        assert page.status_code == 200, page.text
        found += page.json()["letters"]
        following = page.json()["next"]
    return found


def order(client: httpx.Client, what: str, **said: Any) -> list[dict[str, Any]]:
    answer = client.post(f"/v1/dead-letters/{what}", json={"queue": "jobs", **said})
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def resubmit(client: httpx.Client, **said: Any) -> list[dict[str, Any]]:
    return order(client, "resubmit", duplicate_window=0, **said)


def results(bus: BusThread, count: int) -> list[dict[str, Any]]:
    until(lambda: bus.call(lambda broker: broker.queue("results").depths.total) >= count)
    return bus.call(lambda broker: [json.loads(bytes(entry.body)) for entry in broker.queue("results").peek()])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/queues"),
        ("GET", "/v1/dead-letters?queue=jobs"),
        ("GET", "/v1/dead-letters/1?queue=jobs"),
        ("GET", "/v1/dead-letters/1/picture?queue=jobs"),
        ("GET", "/v1/audit"),
        ("POST", "/v1/dead-letters/resubmit"),
        ("POST", "/v1/dead-letters/drop"),
    ],
)
def test_a_camera_sees_nothing_and_a_viewer_changes_nothing(server: Server, method: str, path: str) -> None:
    assert httpx.request(method, server.url + path).status_code == 401
    for key, allowed in ((CAMERA, False), (VIEWER, method == "GET")):
        with asking(server, key) as client:
            answer = client.request(method, path, json=ALL | {"reason": "x"} if method == "POST" else None)
            assert (answer.status_code == 403) is not allowed
            if not allowed:
                assert "send a key with the scope" in answer.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://elsewhere.example"},
        {"origin": "null"},
        {"origin": "http://[::1"},
        {"sec-fetch-site": "cross-site"},
    ],
    ids=["origin", "sandboxed", "no origin at all", "fetch metadata"],
)
def test_a_page_of_elsewhere_may_not_even_with_a_key(
    operator: httpx.Client, bus: BusThread, headers: dict[str, str]
) -> None:
    bury_pictures(bus, 1)
    for what in ("resubmit", "drop"):
        refused = operator.post(f"/v1/dead-letters/{what}", json=ALL | {"reason": "x"}, headers=headers)
        assert refused.status_code == 403
        assert "other origins" in refused.json()["detail"]
    assert len(listed(operator)) == 1


def test_the_consoles_own_page_may_behind_a_proxy_that_names_another_host(operator: httpx.Client) -> None:
    headers = {"origin": "https://vision.example", "sec-fetch-site": "same-origin"}
    assert operator.get("/v1/queues", headers=headers).status_code == 200
    del headers["sec-fetch-site"]
    assert operator.get("/v1/queues", headers=headers).status_code == 403


def test_letters_are_listed_filtered_and_told_whole(operator: httpx.Client, bus: BusThread) -> None:
    bury_pictures(bus, 3, application_properties={"robot_id": "r7", "link": "https://a/b?sig=secret"})
    bury_pictures(bus, 2, reason="InvalidImage")
    assert [letter["message_id"] for letter in listed(operator, limit=2)] == ["m0", "m1", "m2", "m0", "m1"]
    assert len(listed(operator, reason="InvalidImage")) == 2
    mine = listed(operator, robot_id="r7", limit=1)
    assert [letter["robot_id"] for letter in mine] == ["r7"] * 3
    assert listed(operator, sent_before=mine[0]["sent_at"]) == []
    assert len(listed(operator, sent_after=mine[0]["sent_at"])) == 5
    assert operator.get(f"/v1/dead-letters/{2**63}?queue=jobs").status_code == 400
    whole = operator.get(f"/v1/dead-letters/{mine[0]['sequence_number']}?queue=jobs").json()
    assert whole["properties"] == {"robot_id": "r7", "link": "https://a/b?sig=…"}
    assert whole["content_type"] == "image/png"
    for wrong, status in (("/v1/dead-letters/999999?queue=jobs", 404), ("/v1/dead-letters?queue=other", 404)):
        assert operator.get(wrong).status_code == status
    for wrong in ("queue=jobs&limit=0", "queue=jobs&start=x", "", "queue=jobs&reson=a", "queue=jobs&sent_after=now"):
        assert operator.get(f"/v1/dead-letters?{wrong}").status_code == 400, wrong
    (queue,) = operator.get("/v1/queues").json()["queues"]
    assert (queue["queue"], queue["state"], queue["held"]) == ("jobs", "connected", 0)


def test_a_letter_whose_content_type_is_no_text_is_told_whole(operator: httpx.Client, bus: BusThread) -> None:
    bus.call(lambda broker: bury(broker, octets(b"?", message_id="odd", content_type=b"\xff\xfe")))
    (odd,) = listed(operator)
    whole = operator.get(f"/v1/dead-letters/{odd['sequence_number']}?queue=jobs")
    assert whole.json()["content_type"] == r"b'\xff\xfe'"


def test_the_picture_is_drawn_anew_and_within_limits(operator: httpx.Client, bus: BusThread, tmp_path: Path) -> None:
    bury_pictures(bus, 1)
    messages = [
        octets(b"no picture at all", message_id="text", content_type="image/png"),
        octets(png_header_claiming(20_000, 20_000), message_id="large", content_type="image/png"),
        octets(b'{"image_url": "https://elsewhere.example/a.png"}', message_id="link", content_type="application/json"),
        octets(b'{"surprise": 1}', message_id="wrong", content_type="application/json"),
    ]
    bus.call(lambda broker: bury(broker, *messages))
    answers = [
        operator.get(f"/v1/dead-letters/{letter['sequence_number']}/picture?queue=jobs") for letter in listed(operator)
    ]
    assert answers[0].headers["content-type"] == "image/jpeg"
    (tmp_path / "a.jpg").write_bytes(answers[0].content)
    red, green, blue = Image.open(tmp_path / "a.jpg").getpixel((2, 2))  # type: ignore[misc]
    assert red > 240
    assert green + blue < 20
    assert [answer.json()["code"] for answer in answers[1:]] == [
        "unsupported_image",
        "too_many_pixels",
        "no_picture",
        "no_picture",
    ]


def test_letters_are_sent_again_with_other_options_and_their_results_arrive(
    operator: httpx.Client, bus: BusThread, audit_log: Path
) -> None:
    envelope = json.dumps({"image": "x", "model": "nobody"}).encode()
    bury_pictures(bus, 2, application_properties={"model": "nobody", "robot_id": "r1"})
    bus.call(lambda broker: bury(broker, octets(envelope, message_id="e", content_type="application/json")))
    numbers = [letter["sequence_number"] for letter in listed(operator)]
    lines = resubmit(operator, numbers=numbers[:2], options={"model": "colour", "version": "2", "top_k": 1})
    assert lines[0] == {"total": 2}
    assert {line["sequence_number"] for line in lines[1:-1]} == set(numbers[:2])
    assert lines[-1] == {"done": 2, "stay": 0}
    answered = results(bus, 2)
    assert {(body["request_id"], body["version"], len(body["classes"])) for body in answered} == {
        ("m0", "2", 1),
        ("m1", "2", 1),
    }
    assert [letter["message_id"] for letter in listed(operator)] == ["e"]
    newest = operator.get("/v1/audit").json()["entries"][:2]
    assert [entry["action"] for entry in newest] == ["resubmit ended", "resubmit"]
    assert newest[0]["done"] == 2
    assert newest[1]["caller"] == "key:otto"
    assert newest[1]["options"] == {"model": "colour", "version": "2", "top_k": 1}
    assert [json.loads(line) for line in audit_log.read_text().splitlines()[-2:]] == newest[::-1]


def test_an_envelopes_own_options_are_changed(operator: httpx.Client, bus: BusThread) -> None:
    body = {"image": base64.b64encode(solid(RED)).decode(), "model": "nobody"}
    message = octets(json.dumps(body).encode(), message_id="e", content_type="application/json")
    bus.call(lambda broker: bury(broker, message))
    assert resubmit(operator, matching={}, options={"model": "colour"})[-1] == {"done": 1, "stay": 0}
    (answered,) = results(bus, 1)
    assert answered["model"] == "colour"


def test_two_operators_who_send_the_same_again_double_nothing(server: Server, bus: BusThread) -> None:
    bury_pictures(bus, 40)
    with asking(server, OPERATOR) as one, asking(server, OPERATOR) as other, ThreadPoolExecutor(2) as both:
        numbers = [letter["sequence_number"] for letter in listed(one)]
        ends = [lines[-1] for lines in both.map(lambda client: resubmit(client, numbers=numbers), (one, other))]
        assert sorted(end["done"] for end in ends) == [0, 40]
        assert len(results(bus, 40)) == 40
        assert resubmit(one, numbers=numbers[:1])[1]["trouble"] == "it is not there any more"
        assert len(results(bus, 40)) == 40
        assert listed(one) == []


def test_dropping_takes_a_reason_and_what_is_seen_alone(operator: httpx.Client, bus: BusThread) -> None:
    bury_pictures(bus, 3)
    numbers = [letter["sequence_number"] for letter in listed(operator)]
    refused = operator.post("/v1/dead-letters/drop", json=ALL)
    assert refused.status_code == 400
    lines = order(operator, "drop", matching={"reason": "ModelNotFound"}, up_to=numbers[1], reason="from a test")
    assert lines[-1] == {"done": 2, "stay": 0}
    assert [letter["sequence_number"] for letter in listed(operator)] == numbers[2:]
    assert operator.get("/v1/audit").json()["entries"][1]["reason"] == "from a test"


@pytest.mark.parametrize(
    ("what", "said", "words"),
    [
        ("resubmit", {}, "either"),
        ("resubmit", {"numbers": ["1"], "matching": {}}, "either"),
        ("resubmit", {"numbers": ["one"]}, "numbers"),
        ("resubmit", {"numbers": [str(2**63)]}, "sequence numbers end at"),
        ("resubmit", {"numbers": ["1"], "up_to": "1"}, "up_to"),
        ("resubmit", {"matching": {}}, "duplicate_window"),
        ("resubmit", {"matching": {}, "options": {"modell": "a"}}, "modell"),
        ("resubmit", {"matching": {}, "options": {"score_threshold": 2}}, "score_threshold"),
        ("drop", {"matching": {}, "reason": ""}, "reason"),
    ],
)
def test_a_wrong_order_is_explained(operator: httpx.Client, what: str, said: dict[str, Any], words: str) -> None:
    answer = operator.post(f"/v1/dead-letters/{what}", json={"queue": "jobs", **said})
    assert answer.status_code == 400
    assert words in answer.text


def test_letters_that_the_queue_would_take_for_duplicates_stay(operator: httpx.Client, bus: BusThread) -> None:
    bury_pictures(bus, 1)
    lines = order(operator, "resubmit", matching={}, duplicate_window=600)
    assert lines[0] == {"total": 1}
    assert "would drop its copy" in lines[1]["trouble"]
    assert lines[-1] == {"done": 0, "stay": 1}
    assert len(listed(operator)) == 1
