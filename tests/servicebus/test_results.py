"""Where results go, by which names, and what they say."""

import base64
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from azure.servicebus import ServiceBusMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.request import InferenceResult, Timings
from app.errors import ReplyRefused
from app.servicebus import results
from app.servicebus.message import Job, MessageOptions
from app.servicebus.results import Replies, request_id_of, result_id
from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.image import Size
from app.vision.keypoints import Keypoints
from app.vision.oriented_boxes import of_polygons
from app.vision.segmentation import Segmentation, decode_map, encode_map
from tests.servicebus.wire import received

NAMESPACE = "robots.servicebus.windows.net"
URL = "https://robots.blob.core.windows.net/shots/1.jpg"


def replies(
    default: str | None = "results", source: str = "jobs", allowed: tuple[str, ...] = (), namespace: str = NAMESPACE
) -> Replies:
    return Replies(default, source, namespace, frozenset(allowed))


def refusal(place: Replies, reply_to: str | None) -> str:
    with pytest.raises(ReplyRefused) as caught:
        place.entity_for(reply_to)
    return str(caught.value)


def result(request_id: str = "m1", model: str = "colour", version: str = "1") -> InferenceResult:
    prediction = Classification(np.array([1]), np.array([0.5], np.float32), ("green",))
    return InferenceResult(
        request_id, model, version, ("red", "green"), prediction, Size(64, 48), 2, Timings(0.1, 0.1, 0.1, 0.3, 0.4), 1.0
    )


def message_for(**fields: Any) -> ServiceBusMessage:
    request = received(b"picture", **{"message_id": "m1", **fields})
    return results.message_of(request, result(), b"{}", "r7")


@pytest.mark.parametrize("reply_to", [None, ""])
def test_without_reply_to_a_result_goes_to_the_results_queue(reply_to: str | None) -> None:
    assert replies().entity_for(reply_to) == "results"
    assert replies(allowed=("fleet",)).entity_for(reply_to) == "results"


def test_where_neither_is_named_the_message_is_refused_with_the_cure() -> None:
    text = refusal(replies(default=None), None)
    assert "reply_to" in text
    assert "ROO_RESULTS_QUEUE" in text


@pytest.mark.parametrize(
    ("reply_to", "entity"),
    [
        ("fleet", "fleet"),
        ("Fleet-7_a.b", "Fleet-7_a.b"),
        ("/fleet/", "fleet"),
        ("fleet/robots/7", "fleet/robots/7"),
        (f"sb://{NAMESPACE}/fleet", "fleet"),
        (f"https://{NAMESPACE.upper()}/fleet/", "fleet"),
        (f"amqps://{NAMESPACE}/fleet/robots", "fleet/robots"),
        (f"//{NAMESPACE}/fleet?x=y", "fleet"),
    ],
)
def test_any_entity_of_the_namespace_may_be_named(reply_to: str, entity: str) -> None:
    assert replies().entity_for(reply_to) == entity
    assert replies(default=None).entity_for(reply_to) == entity


def test_with_a_list_only_what_is_on_it_may_be_named_in_any_case() -> None:
    place = replies(allowed=("fleet", "Depot"))
    assert place.entity_for("fleet") == "fleet"
    assert place.entity_for("DEPOT") == "DEPOT"
    assert "ROO_REPLY_TO" in refusal(place, "elsewhere")
    assert "ROO_REPLY_TO" in refusal(place, f"sb://{NAMESPACE}/elsewhere")


@pytest.mark.parametrize("reply_to", ["results", "RESULTS", f"sb://{NAMESPACE}/Results"])
def test_the_results_queue_may_always_be_named(reply_to: str) -> None:
    assert replies(allowed=("fleet",)).entity_for(reply_to) == "results"


@pytest.mark.parametrize(
    "reply_to",
    [
        "sb://evil.servicebus.windows.net/fleet",
        f"sb://{NAMESPACE}.evil.net/fleet",
        f"sb://{NAMESPACE}:5671/fleet",
        f"sb://user@{NAMESPACE}/fleet",
        f"https://evil.net/{NAMESPACE}//fleet",
        "//evil.net/fleet",
        "sb:///fleet",
        "sb://[::1/fleet",
    ],
)
def test_another_namespace_is_refused(reply_to: str) -> None:
    assert refusal(replies(), reply_to).startswith("reply_to ")
    assert refusal(replies(allowed=("fleet",)), reply_to)


@pytest.mark.parametrize("reply_to", ["jobs", "JOBS", "/jobs/", "jobs/Subscriptions/all", f"sb://{NAMESPACE}/Jobs"])
@pytest.mark.parametrize("source", ["jobs", "Jobs", "jobs/Subscriptions/vision"])
def test_what_is_read_is_never_written_to(reply_to: str, source: str) -> None:
    assert "come back as a request" in refusal(replies(source=source), reply_to)
    assert "come back as a request" in refusal(replies(source=source, allowed=("jobs", "Jobs")), reply_to)


@pytest.mark.parametrize(
    "reply_to",
    [
        "jobs/$DeadLetterQueue",
        "JOBS/$deadletterqueue",
        "fleet/$DeadLetterQueue",
        "$management",
        "fleet/$management",
        "%6aobs",
        "jobs%2F",
        "./jobs",
        "../jobs",
        "fleet/../jobs",
        "fleet//jobs",
        "jobs\\x",
        "jobs ",
        " jobs",
        "jobs\n",
        "jobs?x",
        "jobs#x",
        "j\u043ebs",
        "/",
        "fleet\x00",
        f"sb://{NAMESPACE}/",
        f"sb://{NAMESPACE}/%6aobs",
        f"sb://{NAMESPACE}/x/../jobs",
    ],
)
def test_what_a_broker_might_read_as_another_name_is_refused(reply_to: str) -> None:
    assert "is not the name of a queue or a topic" in refusal(replies(), reply_to)


def test_a_refusal_is_bounded_and_holds_no_password() -> None:
    assert len(refusal(replies(), "x" * 10_000 + "$")) < 300
    assert "secret" not in refusal(replies(), "sb://me:secret@evil.net/fleet")


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=40)
    | st.lists(
        st.sampled_from(["sb:", "//", "/", NAMESPACE, "jobs", "fleet", "@", "[", "%", "$", ".."]), max_size=8
    ).map("".join)
)
def test_whatever_is_named_is_a_plain_name_that_is_not_read_or_is_refused(reply_to: str) -> None:
    try:
        entity = replies().entity_for(reply_to)
    except ReplyRefused as error:
        str(error).encode()
    else:
        assert re.fullmatch(r"[\w.~/-]+", entity, re.ASCII)
        assert entity.split("/")[0].lower() != "jobs"


def test_a_namespace_on_this_machine_is_known_by_its_port() -> None:
    place = replies(namespace="127.0.0.1:5672")
    assert place.entity_for("sb://127.0.0.1:5672/fleet") == "fleet"
    assert refusal(place, "sb://127.0.0.1:5673/fleet")


def test_a_request_is_known_by_its_message_id_or_else_by_its_number() -> None:
    assert request_id_of(received(b"x", message_id="m1", sequence_number=7), "jobs") == "m1"
    assert request_id_of(received(b"x", message_id=12, sequence_number=7), "jobs") == "12"
    assert request_id_of(received(b"x", sequence_number=7), "jobs") == "jobs:7"


def test_a_result_has_the_same_id_each_time_and_another_for_any_other_result() -> None:
    parts = [
        ("m1", "colour", "1"),
        ("m2", "colour", "1"),
        ("m1", "shelf", "1"),
        ("m1", "colour", "2"),
        ("m1c", "olour", "1"),
        ("m1", "colour1", ""),
        ("M1", "colour", "1"),
    ]
    ids = [result_id(*each) for each in parts]
    assert ids == [result_id(*each) for each in parts]
    assert len(set(ids)) == len(parts)
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in ids)
    assert result_id("m1", "colour", "1") == "2f3c5ed981501f86e6e6edfb73bbd3d4", (
        "the id is a promise: consumers keep it across releases"
    )


def test_a_result_says_which_request_it_answers() -> None:
    message = message_for()
    assert message.message_id == result_id("m1", "colour", "1")
    assert (message.correlation_id, message.content_type, message.subject) == ("m1", "application/json", "prediction")
    assert message.application_properties == {"model": "colour", "version": "1", "robot_id": "r7"}


def test_a_result_without_a_robot_names_none() -> None:
    message = results.message_of(received(b"x", message_id="m1"), result(), b"{}", None)
    assert message.application_properties == {"model": "colour", "version": "1"}


def test_a_result_goes_into_the_session_that_was_asked_for_or_the_requests_own() -> None:
    assert message_for().session_id is None
    assert message_for(group_id="r7").session_id == "r7"
    assert message_for(group_id="r7", reply_to_group_id="answers").session_id == "answers"


def test_the_body_is_https_prediction_and_what_the_message_said() -> None:
    job = Job(None, f"{URL}?sv=1&sig=secret", MessageOptions(robot_id="r7"))
    body = json.loads(results.body_of(job, result(), f"{URL}.png"))
    assert (body["model"], body["version"], body["request_id"]) == ("colour", "1", "m1")
    assert body["classes"] == [{"label": "green", "class_id": 1, "score": 0.5}]
    assert body["image"] == {"width": 64, "height": 48}
    assert (body["robot_id"], body["image_url"], body["annotated_url"]) == ("r7", URL, f"{URL}.png")


def test_a_map_of_classes_is_in_the_body() -> None:
    class_map = np.array([[0, 1, 1]], np.uint8)
    boxes = np.array([[20, 0, 60, 20]], np.float32)
    found = Segmentation(
        *(class_map, (0, 0, 60, 20), encode_map(class_map)),
        *(np.array([1]), ("cat",), np.array([2 / 3], np.float32), boxes),
    )
    body = json.loads(results.body_of(Job(b"x", None, MessageOptions()), replace(result(), prediction=found), None))
    segments, drawn = body["segmentation"]["segments"], body["segmentation"]["map"]
    assert segments == [{"label": "cat", "class_id": 1, "share": 0.6667, "box": [20, 0, 60, 20]}]
    assert (drawn["width"], drawn["height"], drawn["box"]) == (3, 1, [0, 0, 60, 20])
    assert decode_map(base64.b64decode(drawn["png"])).tolist() == [[0, 1, 1]]


def test_keypoints_and_turned_boxes_are_in_the_body() -> None:
    points = Keypoints(np.float32([[[1, 2], [3, 4]]]), np.float32([[0.9, 0.25]]), ("head", "tail"), ((0, 1),))
    turned = of_polygons(np.float32([[[0, 0], [20, 0], [20, 10], [0, 10]]]))
    found = Detections(
        np.float32([[0, 0, 20, 10]]), np.float32([0.5]), np.array([0]), ("cat",), keypoints=points, oriented=turned
    )
    body = json.loads(results.body_of(Job(b"x", None, MessageOptions()), replace(result(), prediction=found), None))
    (cat,) = body["detections"]
    assert cat["keypoints"] == [
        {"name": "head", "x": 1, "y": 2, "score": 0.9},
        {"name": "tail", "x": 3, "y": 4, "score": 0.25},
    ]
    assert (cat["polygon"], cat["angle"], body["skeleton"]) == ([0, 0, 20, 0, 20, 10, 0, 10], 0, [[0, 1]])


def test_what_was_not_said_is_null() -> None:
    body = json.loads(results.body_of(Job(b"x", None, MessageOptions()), result(), None))
    assert (body["robot_id"], body["image_url"], body["annotated_url"]) == (None, None, None)


def test_a_pointer_says_where_the_result_is() -> None:
    assert json.loads(results.pointer_to(URL, result())) == {
        "model": "colour",
        "version": "1",
        "request_id": "m1",
        "result_url": URL,
    }


@pytest.mark.parametrize(("message_id", "known_as"), [(0, "0"), (7, "7"), ("", "jobs:1"), (None, "jobs:1"), ("0", "0")])
def test_a_number_is_an_id_also_where_it_is_nought(message_id: object, known_as: str) -> None:
    assert request_id_of(received(b"picture", message_id=message_id), "jobs") == known_as
