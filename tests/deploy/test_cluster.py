"""The service in a cluster (or any two containers), over HTTP and over the queue: for `overlays/local`, once it runs.

CLUSTER_HTTP and CLUSTER_BUS say where the service and devbus answer, e.g. behind `kubectl port-forward`.
"""

import os
import uuid

import httpx
import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from tests.deploy.places import ROOT

HTTP, BUS = os.environ.get("CLUSTER_HTTP"), os.environ.get("CLUSTER_BUS")
PATIENCE = 60

pytestmark = pytest.mark.skipif(
    not (HTTP and BUS), reason="CLUSTER_HTTP and CLUSTER_BUS name no cluster: it was NOT tried (a workflow does)"
)


@pytest.fixture
def picture() -> bytes:
    """A rack with labels on it."""
    return (ROOT / "models/shelf/examples/shelf-1.jpg").read_bytes()


def test_people_are_answered(picture: bytes) -> None:
    answer = httpx.post(f"{HTTP}/v1/predict", content=picture, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    assert {"carton", "label"} <= {found["label"] for found in answer.json()["detections"]}


def test_robots_are_answered(picture: bytes) -> None:
    name = uuid.uuid4().hex
    bus = f"Endpoint=sb://{BUS};SharedAccessKeyName=any;SharedAccessKey=any;UseDevelopmentEmulator=true;"
    with ServiceBusClient.from_connection_string(bus) as client:
        with client.get_queue_sender("pictures") as sender:
            sender.send_messages(ServiceBusMessage(picture, message_id=name, content_type="image/jpeg"))
        with client.get_queue_receiver("results", max_wait_time=PATIENCE) as receiver:
            for result in receiver:
                receiver.complete_message(result)
                if result.correlation_id == name:
                    assert b'"carton"' in b"".join(result.body)
                    return
    pytest.fail("no result came")
