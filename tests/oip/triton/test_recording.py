"""What this service answers, beside what a real Triton answered; each difference has a reason in docs/protocol.md."""

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.server import Server
from tests.oip.triton.asking import Answers, ask_all
from tests.oip.triton.comparing import differing

RECORDING: Answers = json.loads(Path(__file__).with_name("recording.json").read_text())
DOCUMENT = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text().lower()


@dataclass(frozen=True, slots=True)
class Difference:
    """Fields that may differ in the answers to these requests. `reason` is a sentence of the document."""

    reason: str
    fields: tuple[str, ...]
    requests: tuple[str, ...]


ALL = ("*",)
DIFFERENCES = [
    Difference("name, version, extensions and platform are our own", (
        "*.name", "*.version", "*.extensions", "*.platform", "*.backend",
    ), ("server", "model", "version of a model", "gRPC server", "gRPC model", "gRPC model of a version",
        "gRPC configuration", "gRPC configuration of a version")),
    Difference("metadata says of each tensor which way it belongs to", ("json.*.parameters.way",),
               ("model", "version of a model")),
    Difference("health and readiness have a body, which KServe's client reads", ("headers.content-type", "json*"),
               ("live", "ready", "model ready", "version ready")),
    Difference("a model that is not there is 404 also where Triton says 400", ("status",),
               ("model that is not there ready", "statistics of a model that is not there")),
    Difference("the configuration is told in part", ("json.*", "message.config.max_batch_size"),
               ("configuration", "gRPC configuration", "gRPC configuration of a version")),
    Difference("statistics tell no memory use", ("json.model_stats.0.*",), ("statistics",)),
    Difference("the index of the Triton that was recorded is empty", ("json*", "message.*"),
               ("repository index", "repository index of what is ready", "gRPC index")),
    Difference("a request without an id is answered with one", ("json.id", "message.id"), (
        "flat", "nested", "one version", "64 rows", "BOOL", "INT*", "UINT*", "FP64", "FP16", "BYTES", "BYTES with NUL",
        "binary*", "answered in binary", "in binary but for one output", "gzip", "deflate", "an output",
        "the best classes", "more classes than there are", "priority", "timeout", "no sequence",
        "gRPC raw", "gRPC typed", "gRPC BYTES")),
    Difference("what is not of the protocol's form is 400, where Triton says 500", ("status",), (
        "an id that is a number", "no JSON", "a list", "nothing said", "an input without name",
        "an input without shape", "an input without datatype", "a negative side", "a side of 2^62",
        "a side that is a fraction", "too few elements", "too many elements", "a string among numbers",
        "a null among numbers", "data that is no list", "a fraction for INT32", "a negative size", "a size of text")),
    Difference("a coding that is not taken is 415, where Triton says 501", ("status",), ("another coding",)),
    Difference("no rows are answered with no rows", ALL, ("no rows", "gRPC no rows")),
    Difference("FP16 is taken and written as JSON", ALL, ("FP16 in JSON", "FP16 answered in JSON")),
    Difference("numbers that are not finite are not written as JSON", ALL, ("numbers that are not finite",)),
    Difference("an output that is asked for twice is an error", ALL, ("an output twice",)),
    Difference("parameters and members that nobody knows are errors", ALL, (
        "a parameter of no meaning", "a member of no meaning", "a member of no meaning in an input")),
    Difference("a number that the datatype cannot hold is an error", ALL, ("a number too large for UINT8",)),
    Difference("typed contents are answered in typed contents", (
        "message.raw_output_contents", "message.outputs.0.contents.*"), ("gRPC typed",)),
    Difference("more raw contents than inputs are an error", ALL, ("gRPC too many contents",)),
    Difference("a message that names no model is INVALID_ARGUMENT", ("status",), ("gRPC no model",)),
]  # fmt: skip


@pytest.fixture(scope="module")
def answers(protocol_server: Server) -> Answers:
    return ask_all("127.0.0.1", protocol_server.port, protocol_server.grpc_port)


def concerning(request: str) -> list[Difference]:
    return [each for each in DIFFERENCES if any(fnmatchcase(request, name) for name in each.requests)]


def explains(difference: Difference, field: str) -> bool:
    return any(fnmatchcase(field, pattern) for pattern in difference.fields)


@pytest.mark.parametrize("request_", RECORDING)
def test_the_answer_is_tritons_but_for_what_is_told(answers: Answers, request_: str) -> None:
    fields = differing(RECORDING[request_], answers[request_])
    reasons = concerning(request_)
    untold: dict[str, Any] = {
        field: both for field, both in fields.items() if not any(explains(each, field) for each in reasons)
    }
    assert untold == {}
    for reason in reasons:
        assert any(explains(reason, field) for field in fields), f"no longer so: {reason.reason}"


def test_every_request_is_recorded(answers: Answers) -> None:
    assert answers.keys() == RECORDING.keys()


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.reason)
def test_every_difference_is_documented(difference: Difference) -> None:
    assert difference.reason.lower() in DOCUMENT
