"""What a message may look like, and what is said of one that does not."""

import base64
import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.devbus.amqp.message import SEQUENCE, VALUE
from app.devbus.amqp.types import Described, Int
from app.errors import InvalidMessage, PayloadTooLarge, RequestError
from app.servicebus.message import BLOB_CREATED, Envelope, Job, read_job
from tests.fixtures.pictures import solid
from tests.servicebus.wire import received

SCHEMA = Path(__file__).parents[2] / "docs" / "queue-message.schema.json"
REGENERATE = (
    "python -c 'import json; from app.servicebus.message import Envelope; "
    f"print(json.dumps(Envelope.model_json_schema(), indent=2))' > docs/{SCHEMA.name}"
)

MOST = 20_000
PICTURE = solid((200, 100, 50))
URL = "https://robots.blob.core.windows.net/shots/r7/0001.jpg"

CLOUD_EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "type": BLOB_CREATED,
    "source": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/robots",
    "id": "9aeb0fdf-c01e-0131-0922-9eb54906e209",
    "time": "2026-11-18T15:13:39.4589254Z",
    "subject": "blobServices/default/containers/shots/blobs/r7/0001.jpg",
    "data": {
        "api": "PutBlockList",
        "contentType": "image/jpeg",
        "contentLength": 154288,
        "blobType": "BlockBlob",
        "url": URL,
        "sequencer": "00000000000004420000000000028963",
        "storageDiagnostics": {"batchId": "b68529f3-68cd-4744-baa4-3c0498ec19f0"},
    },
}
GRID_EVENT: dict[str, Any] = {
    "topic": CLOUD_EVENT["source"],
    "subject": "/blobServices/default/containers/shots/blobs/r7/0001.jpg",
    "eventType": BLOB_CREATED,
    "id": CLOUD_EVENT["id"],
    "eventTime": CLOUD_EVENT["time"],
    "data": CLOUD_EVENT["data"],
    "dataVersion": "",
    "metadataVersion": "1",
}


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def envelope(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def read(*bodies: bytes, content_type: str | bytes | None = "application/json", **message: Any) -> Job:
    return read_job(received(*bodies, content_type=content_type, **message), MOST)


def refusal(*bodies: bytes, error: type[RequestError] = InvalidMessage, **message: Any) -> str:
    """The text with which a message is refused."""
    with pytest.raises(error) as caught:
        read(*bodies, **message)
    assert type(caught.value) is error
    return str(caught.value)


@pytest.mark.parametrize(
    "content_type",
    ["image/jpeg", "image/png", "IMAGE/PNG", "image/webp; q=1", "image/bmp", "application/octet-stream", None, "", " "],
)
def test_a_body_of_an_image_type_or_of_none_is_the_picture(content_type: str | None) -> None:
    job = read(PICTURE, content_type=content_type)
    assert (job.image, job.image_url) == (PICTURE, None)
    assert job.options.model_fields_set == set()


def test_a_picture_in_several_data_sections_is_joined() -> None:
    assert read(PICTURE[:10], PICTURE[10:50], PICTURE[50:], content_type="image/png").image == PICTURE


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "text/plain", None])
def test_an_envelope_holds_the_picture_in_base64(content_type: str | None) -> None:
    job = read(envelope(envelope=1, image=in_base64(PICTURE), model="shelf", top_k=3), content_type=content_type)
    assert (job.image, job.image_url) == (PICTURE, None)
    assert (job.options.model, job.options.top_k) == ("shelf", 3)


def test_an_envelope_may_point_to_a_blob() -> None:
    job = read(envelope(image_url=URL, robot_id="r7", annotate="image/png", deadline_ms=1500))
    assert (job.image, job.image_url) == (None, URL)
    assert (job.options.robot_id, job.options.annotate, job.options.deadline_ms) == ("r7", "image/png", 1500)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\n  ", b"\xef\xbb\xbf\r\n"])
@pytest.mark.parametrize("content_type", ["application/json", None])
def test_json_may_begin_with_a_byte_order_mark_and_white_space(mark: bytes, content_type: str | None) -> None:
    assert read(mark + envelope(image_url=URL), content_type=content_type).image_url == URL


@pytest.mark.parametrize("event", [CLOUD_EVENT, GRID_EVENT], ids=["CloudEvents 1.0", "Event Grid"])
@pytest.mark.parametrize("content_type", ["application/cloudevents+json; charset=utf-8", "application/json", None])
def test_a_blobs_event_asks_for_the_blob(event: dict[str, Any], content_type: str | None) -> None:
    properties = {"aeg-event-type": "Notification", "robot_id": "r7"}
    job = read(envelope(**event), content_type=content_type, application_properties=properties)
    assert (job.image, job.image_url) == (None, URL)
    assert job.options.robot_id == "r7"


@pytest.mark.parametrize("event", [CLOUD_EVENT, GRID_EVENT], ids=["CloudEvents 1.0", "Event Grid"])
@pytest.mark.parametrize("content_type", ["application/json", None])
def test_an_array_of_one_event_is_that_event_and_no_other_array_is(
    event: dict[str, Any], content_type: str | None
) -> None:
    def array(*items: object) -> bytes:
        return json.dumps(items).encode()

    assert read(array(event), content_type=content_type).image_url == URL
    for several in (array(), array(event, event), array([event]), array({"image_url": URL})):
        assert "one event, a message" in refusal(several, content_type=content_type)


@pytest.mark.parametrize("event", [CLOUD_EVENT, GRID_EVENT], ids=["CloudEvents 1.0", "Event Grid"])
def test_other_events_are_refused_by_name(event: dict[str, Any]) -> None:
    other = {**event, "type" if "type" in event else "eventType": "Microsoft.Storage.BlobDeleted"}
    assert "Microsoft.Storage.BlobDeleted" in refusal(envelope(**other))
    assert "data.url" in refusal(envelope(**{**event, "data": {}}))
    assert "data.url" in refusal(envelope(**{**event, "data": {"url": "x" * 5000}}))


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents-batch+json",
        "multipart/form-data; boundary=x",
        "application/xml",
        "text/html",
        "video/mp4",
    ],
)
def test_other_content_types_are_refused_and_the_right_ones_named(content_type: str) -> None:
    text = refusal(b"[]", content_type=content_type)
    assert content_type.partition(";")[0] in text
    assert "image/jpeg" in text
    assert "application/json" in text


def test_a_content_type_that_is_no_text_is_refused() -> None:
    assert "not taken" in refusal(PICTURE, content_type=b"\xff\xfe")


def test_options_come_from_application_properties() -> None:
    properties = {
        "model": "shelf",
        b"version": b"2",
        "robot_id": 7,
        "score_threshold": "0.25",
        "iou_threshold": 0.5,
        "max_detections": Int(10),
        b"read_barcodes": b"true",
        "classes": b"carton,3",
        "class_agnostic": "true",
        "coordinates": "normalized",
        "masks": b"rle",
        "region": b"10,20,30,40.5",
        "tiles": "640,0.1",
        "deadline_ms": b"1500",
        "annotate": "image/jpeg",
        b"priority": b"high",
    }
    options = read(PICTURE, content_type="image/png", application_properties=properties).options
    assert options.model_dump(exclude_none=True) == {
        "model": "shelf",
        "version": "2",
        "robot_id": "7",
        "score_threshold": 0.25,
        "iou_threshold": 0.5,
        "max_detections": 10,
        "read_barcodes": True,
        "classes": ("carton", "3"),
        "class_agnostic": True,
        "coordinates": "normalized",
        "masks": "rle",
        "region": (10, 20, 30, 40.5),
        "tiles": "640,0.1,true",
        "deadline_ms": 1500,
        "annotate": "image/jpeg",
        "priority": "high",
    }


def test_properties_of_others_are_not_ours_to_judge() -> None:
    properties = {"Diagnostic-Id": "00-1-2-01", "x-opt": None, "image": "no", "envelope": 9, b"\xff": b"\xff", "n": 1.5}
    job = read(PICTURE, content_type="image/png", application_properties=properties)
    assert job.image == PICTURE
    assert job.options.model_fields_set == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("score_threshold", "high"),
        ("score_threshold", 1.5),
        ("score_threshold", float("nan")),
        ("iou_threshold", -0.1),
        ("max_detections", 0),
        ("top_k", "many"),
        ("deadline_ms", 0),
        ("deadline_ms", 10**12),
        ("deadline_ms", 1.5),
        ("read_barcodes", "perhaps"),
        ("annotate", "image/gif"),
        ("priority", "urgent"),
        ("priority", "HIGH"),
        ("priority", 9),
        ("robot_id", "r" * 300),
        ("model", UUID(int=7)),
        ("model", b"\x00" * 500),
        ("version", True),
    ],
)
def test_a_bad_property_is_refused_by_its_name(name: str, value: Any) -> None:
    text = refusal(PICTURE, content_type="image/png", application_properties={name: value})
    assert text.startswith(f"The application properties are not as documented: {name} ")
    assert not re.search("[Ii]nput|[Ss]tring|[Vv]alid|Value error", text)  # the validator's words


def test_the_envelope_wins_over_the_properties() -> None:
    properties = {"model": "other", "version": "2", "score_threshold": 0.9, "robot_id": "r7"}
    body = envelope(image_url=URL, model="shelf", score_threshold=0.1, version=None)
    options = read(body, application_properties=properties).options
    assert (options.model, options.score_threshold) == ("shelf", 0.1)
    assert (options.version, options.robot_id) == (None, "r7")


@pytest.mark.parametrize(
    "section",
    [
        Described(VALUE, "a string"),
        Described(VALUE, {"image_url": URL}),
        Described(VALUE, PICTURE),
        Described(VALUE, None),
        Described(SEQUENCE, [PICTURE]),
    ],
)
def test_amqp_values_and_sequences_are_refused(section: Described) -> None:
    assert "Send bytes" in refusal(body_section=section)


@pytest.mark.parametrize("content_type", ["image/jpeg", "application/octet-stream", None])
def test_an_empty_message_has_no_picture(content_type: str | None) -> None:
    assert "no picture" in refusal(b"", content_type=content_type)
    assert "no picture" in refusal(envelope(image=""))


def test_a_message_without_any_body_is_refused() -> None:
    assert refusal(content_type="image/jpeg")


@pytest.mark.parametrize("over", [1, 2, 3, 1000])
def test_pictures_that_are_too_large_are_refused(over: int) -> None:
    largest, larger = bytes(MOST), bytes(MOST + over)
    assert read(largest, content_type="image/png").image == largest
    assert read(envelope(image=in_base64(largest))).image == largest
    assert str(MOST) in refusal(larger, content_type="image/png", error=PayloadTooLarge)
    assert str(MOST) in refusal(envelope(image=in_base64(larger)), error=PayloadTooLarge)


def test_a_picture_in_base64_is_refused_by_its_length_before_it_is_decoded() -> None:
    assert "bytes" in refusal(envelope(image="!" * (2 * MOST)), error=PayloadTooLarge)


def test_json_is_refused_by_its_length_before_it_is_parsed() -> None:
    assert "bytes of JSON" not in refusal(b"{" * 60_000)
    assert "JSON" in refusal(b"{" * 200_000, error=PayloadTooLarge)


@pytest.mark.parametrize("text", ["data:image/png;base64,AAAA", "AA\nAA", "AAA", "A-_A", "ÄÄÄÄ"])
def test_what_is_not_plain_base64_is_refused_with_the_cure(text: str) -> None:
    assert "without line breaks or a data: prefix" in refusal(envelope(image=text))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b"[" * 5000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"image_url": "x", "top_k": NaN}',
        b'{"image_url": "x", "score_threshold": Infinity}',
        b'{"image_url": "x", "top_k": ' + b"9" * 5000 + b"}",
        b'{"image_url": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'\xff\xfe{"image_url": "x"}',
        '{"image_url": "x"}'.encode("utf-16"),
        b'{"image_url": "x"} trailing',
    ],
)
def test_what_only_calls_itself_json_is_refused(body: bytes) -> None:
    assert refusal(body).startswith("The message is read as JSON, as its content type says")


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b"true", b'[{"image_url": "x"}]'])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    assert "not an object" in refusal(body)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "give either `image` or `image_url`"),
        ({"image": "AAAA", "image_url": URL}, "give either `image` or `image_url`"),
        ({"image": None, "image_url": None}, "give either `image` or `image_url`"),
        ({"image_url": URL, "envelope": 2}, "envelope must be 1"),
        ({"image_url": URL, "colour": "red"}, "colour is no field of it"),
        ({"image_url": URL, "score_treshold": 1}, "score_treshold is no field of it (is score_threshold meant?)"),
        ({"image": ["AAAA"]}, "image must be a text"),
        ({"image": {"a": 1}}, "image must be a text"),
        ({"image_url": "h" * 5000}, "image_url has more than 4096 characters"),
        ({"image_url": URL, "top_k": 10**30}, "top_k must be at most 10000"),
        ({"image_url": URL, "score_threshold": 1e400}, "score_threshold must be at most 1"),
        ({"image_url": URL, "deadline_ms": [1]}, "deadline_ms must be a whole number"),
        ({"image_url": URL, "read_barcodes": "perhaps"}, "read_barcodes must be true or false"),
        ({"image_url": URL, "robot_id": "a\nb"}, "robot_id has control characters, which are not taken"),
        ({"image_url": URL, "annotate": "image/gif"}, "annotate must be 'image/jpeg' or 'image/png'"),
        ({"image_url": URL, **{f"no{number}": 1 for number in range(11)}}, "; and 3 more"),
    ],
)
def test_an_envelope_of_another_form_is_refused_by_field(fields: dict[str, Any], words: str) -> None:
    body = json.dumps(fields).replace("Infinity", "1e400").encode()
    assert refusal(body).startswith("The envelope is not as documented: ")
    assert words in refusal(body)


def test_of_a_name_that_comes_twice_the_last_counts() -> None:
    assert read(b'{"image_url": "a", "image_url": "b"}').image_url == "b"


def test_a_refusal_is_short_and_does_not_quote_values() -> None:
    fields = {f"field{number}" * 10: "secret" for number in range(400)}
    text = refusal(envelope(**fields))
    assert len(text) < 1024
    assert "secret" not in text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(sorted([*Envelope.model_fields, "specversion", "type", "eventType", "data"]))
near_envelopes = st.dictionaries(names, json_values | st.just(BLOB_CREATED) | st.just({"url": URL}), max_size=5)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.floats() | st.text(max_size=9) | st.binary(max_size=9)
)
content_types = st.sampled_from([None, "application/json", "application/cloudevents+json", "image/png", "text/plain"])


@settings(max_examples=150, deadline=None)
@given(
    body=st.binary(max_size=200) | near_envelopes.map(lambda fields: json.dumps(fields).encode()),
    content_type=content_types | st.text(st.characters(max_codepoint=127), max_size=30),
    properties=st.dictionaries(names | st.text(max_size=5) | st.binary(max_size=5), scalars, max_size=4),
)
def test_whatever_comes_is_a_job_or_a_readable_refusal(
    body: bytes, content_type: str | None, properties: dict[Any, Any]
) -> None:
    try:
        job = read(body, content_type=content_type, application_properties=properties)
    except RequestError as error:
        str(error).encode()  # AMQP can carry it, for an operator to read
    else:
        assert (job.image is None) != (job.image_url is None)


def test_the_documented_schema_is_the_envelopes() -> None:
    assert json.loads(SCHEMA.read_text()) == Envelope.model_json_schema(), f"make it anew:\n{REGENERATE}"


@pytest.mark.parametrize("kind", ["application/json", None, "text/plain"])
def test_an_envelope_that_was_encoded_twice_is_understood(kind: str | None) -> None:
    """The JavaScript SDK makes JSON of every string, and of what `JSON.stringify` has made too."""
    body = json.dumps(json.dumps({"image_url": URL, "robot_id": "r7"})).encode()
    job = read(body, content_type=kind)
    assert (job.image_url, job.options.robot_id) == (URL, "r7")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (json.dumps("just words"), "application/json"),
        (json.dumps(json.dumps(json.dumps({"image_url": URL}))), "application/json"),
        (json.dumps(json.dumps([1])), None),
        (json.dumps(in_base64(PICTURE)), "image/png"),
        (json.dumps(in_base64(PICTURE)), "application/octet-stream"),
    ],
)
def test_a_string_that_is_no_envelope_is_refused_with_the_cause(body: str, kind: str | None) -> None:
    with pytest.raises(InvalidMessage, match="JavaScript SDK"):
        read(body.encode(), content_type=kind)


@pytest.mark.parametrize("robot", ["r7\n", "\x00", "a\x1b[2J", "\x7f", "\x85"])
def test_control_characters_in_a_robots_name_are_refused(robot: str) -> None:
    with pytest.raises(InvalidMessage, match="robot_id"):
        read(envelope(image_url=URL, robot_id=robot))
    with pytest.raises(InvalidMessage, match="robot_id"):
        read(PICTURE, content_type="image/png", application_properties={"robot_id": robot})


@pytest.mark.parametrize("robot", ["r7", "Röbi 7", "机器人", "a/b:c", ""])
def test_other_names_are_taken(robot: str) -> None:
    assert read(envelope(image_url=URL, robot_id=robot)).options.robot_id == robot
