"""Sends the requests, and tells what came back in a form that two servers' answers can be compared in."""

import base64
import http.client
import json
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import service_pb2_grpc

from tests.oip.triton.cases import Case, cases
from tests.oip.triton.messages import Message, messages

TOLD = ("content-type", "inference-header-content-length", "content-encoding")
"""Headers that matter to clients of the protocol."""

Answers = dict[str, dict[str, Any]]


def ask_all(host: str, http_port: int, grpc_port: int) -> Answers:
    """Every answer, by the name of its request."""
    answers: Answers = {case.name: ask(host, http_port, case) for case in cases()}
    with grpc.insecure_channel(f"{host}:{grpc_port}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answers |= {each.name: call(stub, each) for each in messages()}
    return answers


def ask(host: str, port: int, case: Case) -> dict[str, Any]:
    """`status`, what matters of the headers, `json`, and `binary` behind it in base64; `text` where it is no JSON."""
    connection = http.client.HTTPConnection(host, port, timeout=60)
    try:
        connection.request(case.method, case.path, case.body or None, case.headers)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    told: dict[str, Any] = {"status": response.status}
    told["headers"] = {name: value for name in TOLD if (value := response.getheader(name)) is not None}
    size = int(response.getheader("inference-header-content-length") or len(content))
    try:
        told["json"] = json.loads(content[:size]) if content else None
    except ValueError:
        told["text"] = content.decode(errors="replace")
    if content[size:]:
        told["binary"] = base64.b64encode(content[size:]).decode()
    return told


def call(stub: Any, message: Message) -> dict[str, Any]:
    """`status`, and the `message` or the `details` of the error."""
    try:
        answer = getattr(stub, message.method)(message.request, timeout=60)
    except grpc.RpcError as error:
        return {"status": error.code().name, "details": error.details()}
    return {"status": "OK", "message": MessageToDict(answer, preserving_proto_field_name=True)}
