"""What /metrics says, in both formats: what was refused is in it, and nobody can make it grow."""

import http.client
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from tests.fixtures.pictures import solid
from tests.fixtures.server import Server, serving
from tests.telemetry.collector import collecting

PICTURE = solid((9, 9, 9))
PREDICT = "/v1/models/colour/predict"
OPENMETRICS = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
TRACE = "0af7651916cd43dd8448eb211c80319c"

ODD_METHODS = ("PROPFIND", "MKCOL", "SEARCH", "REPORT", "UNLOCK")

Answers = dict[tuple[str, str, str], float]


@pytest.fixture(scope="module")
def guarded(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that asks for a key, and limits what is sent."""
    keys = tmp_path_factory.mktemp("secrets") / "keys"
    keys.write_text("robot:this-is-the-key-of-a-robot-0123456789\n")
    keys.chmod(0o600)
    settings = {"auth": "keys", "api_keys_file": keys, "metrics_open": True, "max_body_bytes": 2**21}
    with serving(repository, max_image_bytes=2**20, max_inflight_bytes=2**22, **settings) as running:
        yield running


def families(server: Server) -> dict[str, Metric]:
    text = httpx.get(f"{server.url}/metrics").text
    return {family.name: family for family in read_text(text)}


def answers(server: Server) -> Answers:
    """How many requests were answered, by method, route and status."""
    found: Answers = {}
    for sample in families(server)["http_server_request_duration_seconds"].samples:
        if sample.name.endswith("_count"):
            labels = sample.labels
            key = labels["http_request_method"], labels["http_route"], labels["http_response_status_code"]
            found[key] = sample.value
    return found


def test_what_is_refused_before_the_core_is_counted(guarded: Server) -> None:
    key = {"x-api-key": "this-is-the-key-of-a-robot-0123456789"}
    with guarded.client() as client:
        assert client.post(PREDICT, content=PICTURE).status_code == 401
        assert client.get("/no/such/place", headers=key).status_code == 404
        assert client.put(PREDICT, headers=key).status_code == 405
        assert client.post(PREDICT, content=bytes(3 * 2**20), headers=key).status_code == 413
        assert client.post(PREDICT, content=PICTURE, headers=key).status_code == 200
    found = answers(guarded)
    route = "/v1/models/{name}/predict"
    assert found["POST", "", "401"] == found["GET", "", "404"] == 1
    assert found["POST", route, "413"] == found["POST", route, "200"] == 1
    assert {status for _, _, status in found} >= {"405"}
    (refused,) = (sample for sample in families(guarded)["roo_refusals"].samples if sample.value)
    assert (refused.name, refused.labels) == ("roo_refusals_total", {"code": "unauthorized"})


def test_failures_are_counted_with_their_model_and_error(server: Server) -> None:
    with server.client() as client:
        error = client.post(PREDICT, content=PICTURE[:-40]).json()["code"]
    found = [sample.labels for sample in families(server)["roo_requests"].samples]
    assert {"source": "http", "model": "colour", "version": "2", "outcome": error} in found


def test_the_format_is_negotiated(server: Server) -> None:
    with server.client() as client:
        client.post(PREDICT, content=PICTURE)
        plain, open_ = client.get("/metrics"), client.get("/metrics", headers=OPENMETRICS)
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert open_.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in read_openmetrics(open_.text)}
    assert names >= {"roo_ready", "roo_stage_seconds", "process_memory_usage_bytes"}
    assert open_.text.endswith("# EOF\n")


def test_openmetrics_leads_from_a_slow_bucket_to_a_trace(repository: Path) -> None:
    with collecting() as collector:
        environment = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces"}
        with serving(repository, environment) as server, server.client() as client:
            client.post(PREDICT, content=PICTURE, headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"})
            text = client.get("/metrics", headers=OPENMETRICS).text
            assert TRACE not in client.get("/metrics").text
    led = {
        family.name
        for family in read_openmetrics(text)
        for sample in family.samples
        if sample.exemplar and sample.exemplar.labels["trace_id"] == TRACE
    }
    assert led == {"http_server_request_duration_seconds", "roo_request_seconds", "roo_stage_seconds"}


def test_nobody_can_add_series_without_end(server: Server) -> None:
    def count() -> int:
        return sum(len(family.samples) for family in families(server).values())

    def throw(seed: int) -> None:
        for number in range(seed, seed + 30):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            headers = {"X-Request-Id": f"id-{number}", "User-Agent": f'"}}{number}', "traceparent": f"00-{number}"}
            connection.request(ODD_METHODS[number % len(ODD_METHODS)], f"/odd/{number}", headers=headers)
            connection.getresponse().read()
            for path in (f"/v1/models/no-{number}/predict", f"/v1/models/colour/versions/{number}/predict"):
                connection.request("POST", path, body=PICTURE, headers=headers)
                connection.getresponse().read()
            connection.request("POST", f"{PREDICT}?top_k={number}", body=b"junk", headers=headers)
            connection.getresponse().read()
            connection.request("GET", f"/v1/models/%22%7D{number}", headers=headers)
            connection.getresponse().read()
            connection.close()

    throw(0)
    before = count()
    throw(1000)
    assert count() == before
    text = httpx.get(f"{server.url}/metrics").text
    assert not re.search(r"odd|no-\d|id-\d|%22|SEARCH", text)
    assert "_OTHER" in text


@pytest.mark.parametrize("accept", ["text/plain", OPENMETRICS["accept"]])
def test_target_info_says_who_it_is(server: Server, accept: str) -> None:
    text = httpx.get(f"{server.url}/metrics", headers={"accept": accept}).text
    (line,) = re.findall(r"^target_info\{(.*)\} 1", text, re.MULTILINE)
    assert 'service_name="roo-vision"' in line
    assert "service_version=" in line
    assert "roo_device=" in line
