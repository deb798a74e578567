"""What is wrong is refused in a sentence, within bounded memory; neighbours are unharmed."""

import base64
import contextlib
import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.pictures import solid
from tests.fixtures.server import Server


def resident_bytes(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


ROW = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
RAW = {"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}
FP32 = "/v2/models/identity_fp32/infer"


@pytest.fixture
def client(protocol_server: Server) -> Iterator[httpx.Client]:
    with protocol_server.client() as client:
        yield client


def text(row: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"inputs": [row], **more}


def refused(
    client: httpx.Client, content: Any, words: str, status: int = 400, path: str = FP32, **headers: str
) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    response = client.post(
        path, content=body, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    answer = response.json()
    assert (response.status_code, response.headers["content-type"]) == (status, "application/json"), answer
    assert words in answer["error"]
    assert answer["detail"] == answer["error"]
    assert answer["status"] == status
    assert answer["request_id"] == response.headers["x-request-id"]
    assert client.post(FP32, json=text(ROW)).json()["outputs"][0]["data"] == [1.0, 2.0, 3.0]


def with_tensors(
    request: dict[str, Any], tensors: bytes, size: int | str | None = None
) -> tuple[bytes, dict[str, str]]:
    head = json.dumps(request).encode()
    return head + tensors, {"inference_header_content_length": str(len(head) if size is None else size)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no JSON"),
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        ([], "cannot be read"),
        ({}, "inputs: Field required"),
        ({"inputs": []}, "inputs:"),
        ({"inputs": [ROW] * 65}, "inputs:"),
        ({"inputs": [ROW, ROW]}, "there twice"),
        ({"inputs": [ROW, {**ROW, "name": "w"}]}, "no input 'w'"),
        (text({**ROW, "name": 1}), "inputs.0.name:"),
        (text({**ROW, "extra": 1}), "inputs.0.extra:"),
        (text({**ROW, "shape": [-1, 3]}), "negative side"),
        (text({**ROW, "shape": [2**62, 2]}), "more elements than any request"),
        (text({**ROW, "shape": [2**63 - 1, 3]}), "more elements than any request"),
        (text({**ROW, "shape": [2**63, 3]}), "inputs.0.shape.0:"),
        (text({**ROW, "shape": [0, 2**62]}), "more elements than any request"),
        (text({**ROW, "shape": [10**40, 3]}), "inputs.0.shape.0:"),
        (text({**ROW, "shape": [1.0, 3]}), "inputs.0.shape.0:"),
        (text({**ROW, "shape": [1] * 33}), "inputs.0.shape:"),
        (text({**ROW, "shape": []}), "has 1 elements; 3 were sent"),
        (text({**ROW, "shape": [1, 4]}), "has 4 elements; 3 were sent"),
        (text({**ROW, "shape": [3, 1]}), "has the shape [-1, 3]"),
        (text({**ROW, "datatype": "FP31"}), "no datatype 'FP31'"),
        (text({**ROW, "datatype": "BF16"}), "BF16 is not taken"),
        (text({**ROW, "datatype": "INT64"}), "is of type FP32, not INT64"),
        (text({**ROW, "data": [[1, 2], [3]]}), "not nested"),
        (text({**ROW, "data": [[1, 2, 3], [4]]}), "not nested"),
        (text({**ROW, "data": [[1, 2, [3]]]}), "other things than numbers"),
        (text({**ROW, "data": [1, 2, "3"]}), "other things than numbers"),
        (text({**ROW, "data": [1, 2, True]}), "other things than numbers"),
        (text({**ROW, "data": [1, 2, None]}), "other things than numbers"),
        (text({**ROW, "data": [1, 2, 10**400]}), "cannot hold"),
        (text({**ROW, "data": 1}), "inputs.0.data:"),
        (text({"name": "x", "shape": [1, 3], "datatype": "FP32"}), "neither data nor"),
        (text({**RAW, "data": [1, 2, 3]}), "has both data and"),
        (text({**ROW, "parameters": {"depth": 1}}), "no parameter 'depth' of an input"),
        (text(ROW, outputs=[{"name": "z"}]), "no output 'z'"),
        (text(ROW, outputs=[{"name": "y"}, {"name": "y"}]), "'y' is there twice"),
        (text(ROW, outputs=[{"name": "y", "parameters": {"classification": -1}}]), "how many classes"),
        (text(ROW, outputs=[{"name": "y", "parameters": {"binary_data": 1}}]), "true or false"),
        (text(ROW, outputs=[{"name": "y", "parameters": {"colour": 1}}]), "no parameter 'colour' of an output"),
        (text(ROW, parameters={"priority": "high"}), "parameter priority"),
        (text(ROW, parameters={"priority": True}), "parameter priority"),
        (text(ROW, parameters={"timeout": -1}), "whole number of microseconds"),
        (text(ROW, parameters={"timeout": 10, "deadline_ms": 10}), "say the same"),
        (text(ROW, parameters={"score_threshold": 2}), "parameters.score_threshold:"),
        (text(ROW, parameters={"scoer_threshold": 0.5}), "no parameter 'scoer_threshold'"),
        (text(ROW, parameters=[]), "parameters:"),
        (text(ROW, id="x" * 257), "id:"),
        (text(ROW, model_name="colour"), "body's model_name is 'colour', the address's 'identity_fp32'"),
        (text(ROW, model_version="1"), "body's model_version is '1', the address's none"),
        (text(ROW, model_name=1), "model_name:"),
    ],
)
def test_json_that_is_wrong(client: httpx.Client, content: Any, words: str) -> None:
    refused(client, content, words)


@pytest.mark.parametrize(
    ("request_", "tensors", "size", "words"),
    [
        (text(RAW), b"\0" * 11, None, "11 bytes are left"),
        (text(RAW), b"\0" * 13, None, "1 bytes follow"),
        (text({**RAW, "parameters": {"binary_data_size": 8}}), b"\0" * 8, None, "takes 12 bytes; 8 were sent"),
        (text({**RAW, "parameters": {"binary_data_size": -1}}), b"", None, "binary_data_size of the input x is -1"),
        (text({**RAW, "parameters": {"binary_data_size": 2**70}}), b"", None, "0 bytes are left"),
        (text({**RAW, "parameters": {"binary_data_size": "12"}}), b"\0" * 12, None, "12 bytes are left"),
        (text(RAW), b"\0" * 12, 10**9, "the whole body has"),
        (text(RAW), b"\0" * 12, "-5", "is one number"),
        (text(RAW), b"\0" * 12, "9" * 30, "is one number"),
        (text(RAW), b"\0" * 12, 0, "has no JSON"),
        (text(RAW), b"\0" * 12, 20, "cannot be read"),
    ],
)
def test_lengths_that_do_not_add_up(
    client: httpx.Client, request_: dict[str, Any], tensors: bytes, size: int | str | None, words: str
) -> None:
    body, headers = with_tensors(request_, tensors, size)
    refused(client, body, words, **headers)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        (b"\0" * 8, "cannot hold them"),
        (struct.pack("<I", 2**32 - 1) + b"\0" * 8, "4294967295 bytes; only 8 are left"),
        (b"\0" * 13, "and 1 bytes after them"),
        (struct.pack("<I", 6) + b"\0" * 8, "ends before the length of its element 1"),
    ],
)
def test_elements_of_bytes_that_do_not_add_up(client: httpx.Client, elements: bytes, words: str) -> None:
    sent = {"name": "x", "shape": [1, 3], "datatype": "BYTES", "parameters": {"binary_data_size": len(elements)}}
    body, headers = with_tensors(text(sent), elements)
    refused(client, body, words, path="/v2/models/identity_bytes/infer", **headers)


def test_a_bool_is_0_or_1(client: httpx.Client) -> None:
    sent = {"name": "x", "shape": [1, 3], "datatype": "BOOL", "parameters": {"binary_data_size": 3}}
    body, headers = with_tensors(text(sent), b"\0\1\2")
    refused(client, body, "other than 0 and 1", path="/v2/models/identity_bool/infer", **headers)


def test_numbers_that_the_datatype_cannot_hold(client: httpx.Client) -> None:
    for datatype, number in (("UINT8", 256), ("UINT8", -1), ("INT64", 2**63), ("FP16", 1e6)):
        sent = {"name": "x", "shape": [1, 3], "datatype": datatype, "data": [number, 0, 0]}
        refused(client, text(sent), "cannot hold", path=f"/v2/models/identity_{datatype.lower()}/infer")
    sent = {"name": "x", "shape": [1, 3], "datatype": "INT32", "data": [1.5, 0, 0]}
    refused(client, text(sent), "whole numbers", path="/v2/models/identity_int32/infer")


def test_what_json_cannot_hold_is_not_written(client: httpx.Client) -> None:
    body, headers = with_tensors(text(RAW), struct.pack("<3f", float("nan"), 1, 2))
    refused(client, body, "binary_data: true", **headers)


def test_pictures_in_base64(client: httpx.Client) -> None:
    def ask(data: str) -> dict[str, Any]:
        return text(
            {
                "name": "image",
                "shape": [1],
                "datatype": "BYTES",
                "data": [data],
                "parameters": {"content_type": "base64"},
            }
        )

    answer = client.post("/v2/models/colour/infer", json=ask(base64.b64encode(solid((255, 0, 0))).decode())).json()
    assert answer["outputs"] == [
        {"name": "probabilities", "datatype": "FP32", "shape": [1, 3], "data": [1.0, 0.0, 0.0]}
    ]
    refused(client, ask("*"), "not base64", path="/v2/models/colour/infer")
    refused(client, ask("\u00e9"), "not base64", path="/v2/models/colour/infer")


def test_the_body_may_name_the_model_of_the_address(client: httpx.Client) -> None:
    answer = client.post(
        "/v2/models/identity_fp32/versions/1/infer", json=text(ROW, model_name="identity_fp32", model_version="1")
    )
    assert answer.json()["outputs"][0]["data"] == [1.0, 2.0, 3.0]


def test_too_many_values_of_json_are_refused_before_they_are_read(client: httpx.Client) -> None:
    refused(client, b'{"inputs":[{"data":[' + b"0," * 302_000, "Send large tensors as binary data")


def test_too_many_rows(client: httpx.Client) -> None:
    body, headers = with_tensors(
        text({**RAW, "shape": [300, 3], "parameters": {"binary_data_size": 3600}}), b"\0" * 3600
    )
    refused(client, body, "has 300 rows; at most 256", **headers)


def test_a_body_that_is_too_large(client: httpx.Client) -> None:
    refused(client, b"x" * (2**22 + 1), "larger than the 4194304 bytes", 413)


def test_a_body_that_never_ends(client: httpx.Client, protocol_server: Server) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 2**16

    before = resident_bytes(protocol_server.process.pid)
    # Who goes on sending is told so, or finds the connection closed.
    with contextlib.suppress(httpx.WriteError, httpx.ReadError):
        assert client.post(FP32, content=endless()).status_code == 413
    assert sent < 2**10
    assert resident_bytes(protocol_server.process.pid) - before < 2**26
    assert client.post(FP32, json=text(ROW)).status_code == 200


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_ends_where_a_body_does(client: httpx.Client, protocol_server: Server, coding: str) -> None:
    pack = gzip.compress if coding == "gzip" else zlib.compress
    bomb = pack(b" " * 2**28)
    before = resident_bytes(protocol_server.process.pid)
    for _ in range(4):
        refused(client, bomb, "unpacked, is larger than", 413, content_encoding=coding)
    assert resident_bytes(protocol_server.process.pid) - before < 2**26
    refused(client, pack(json.dumps(text(ROW)).encode())[:-8], "ends before", content_encoding=coding)
    refused(client, b"none of it", "not what Content-Encoding says", content_encoding=coding)
    refused(client, bomb, "is not taken", 415, content_encoding="br")


def test_a_timeout_that_cannot_be_meant_is_none(client: httpx.Client) -> None:
    for timeout in (0, 30, 999):
        assert client.post(FP32, json=text(ROW, parameters={"timeout": timeout})).status_code == 200


def test_whole_numbers_may_be_written_as_fractions(client: httpx.Client) -> None:
    def answer(datatype: str, *numbers: float) -> Any:
        sent = {"name": "x", "shape": [1, 3], "datatype": datatype, "data": numbers}
        answer = client.post(f"/v2/models/identity_{datatype.lower()}/infer", json=text(sent)).json()
        return answer["outputs"][0]["data"] if "outputs" in answer else answer["error"]

    assert answer("INT64", 1.0, -2.0, 2.0**53 - 1) == [1, -2, 2**53 - 1]
    assert answer("BOOL", 1.0, 0.0, True) == [True, False, True]
    assert "whole numbers" in answer("INT64", 1.0, 2.0, 2.0**53)
    assert "whole numbers" in answer("UINT8", 1.0, 2.0, 2.5)
    assert "cannot hold" in answer("UINT8", 1.0, 2.0, 256.0)
    assert "true or false" in answer("BOOL", 1.0, 0.0, 2.0)


def test_tensors_for_a_model_of_pictures_are_checked(client: httpx.Client) -> None:
    sent = {"name": "image", "shape": [1, 3, 8, 8], "datatype": "FP32", "data": [0] * 192}
    refused(client, text(sent), "has the shape [-1, 3, 16, 16]", path="/v2/models/colour/infer")


def test_pictures_for_a_model_of_tensors_are_refused_by_v1(client: httpx.Client) -> None:
    response = client.post("/v1/models/identity_fp32/predict", content=solid((1, 2, 3)))
    assert response.status_code == 400
    assert "takes no pictures" in response.json()["detail"]
    assert client.get("/v1/models/identity_fp32").json()["versions"][0]["input_dtype"] == "float32"
