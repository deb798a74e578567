"""The service starts, and answers, in the environment that each platform injects beside what the manifests set."""

from pathlib import Path

import pytest

from tests.fixtures.pictures import solid
from tests.fixtures.server import serving
from tests.fixtures.waiting import until
from tests.telemetry.collector import collecting_grpc

INSIGHTS = (
    "InstrumentationKey=00000000-0000-0000-0000-000000000000;IngestionEndpoint=http://127.0.0.1:9/;"
    "LiveEndpoint=http://127.0.0.1:9/;ApplicationId=00000000-0000-0000-0000-000000000000"
)
QUIETLY = {"APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true"}

PLATFORMS: dict[str, dict[str, str]] = {
    # https://learn.microsoft.com/azure/container-apps/environment-variables, .../managed-identity
    "Container Apps": {
        "CONTAINER_APP_NAME": "roo-vision",
        "CONTAINER_APP_REVISION": "roo-vision--20mh1s9",
        "CONTAINER_APP_REPLICA_NAME": "roo-vision--20mh1s9-86c8c4b497-zx9bq",
        "CONTAINER_APP_HOSTNAME": "roo-vision--20mh1s9.example.westeurope.azurecontainerapps.io",
        "CONTAINER_APP_ENV_DNS_SUFFIX": "example.westeurope.azurecontainerapps.io",
        "CONTAINER_APP_PORT": "8000",
        "IDENTITY_ENDPOINT": "http://localhost:12356/msi/token",
        "IDENTITY_HEADER": "7d3c1b6e",
        "MSI_ENDPOINT": "http://localhost:12356/msi/token",
        "MSI_SECRET": "7d3c1b6e",
    },
    # Of the managed OpenTelemetry agent, https://learn.microsoft.com/azure/container-apps/opentelemetry-agents
    "Container Apps with its agent": {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel.service.k8se-apps:4317/",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "CONTAINERAPP_OTEL_TRACING_GRPC_ENDPOINT": "http://otel.service.k8se-apps:43178/v1/traces/",
        "CONTAINERAPP_OTEL_LOGGING_GRPC_ENDPOINT": "http://otel.service.k8se-apps:43178/v1/logs/",
        "CONTAINERAPP_OTEL_METRIC_GRPC_ENDPOINT": "http://otel.service.k8se-apps:43178/v1/metrics/",
    },
    # Workload identity's webhook, and service links where a manifest does not switch them off.
    "AKS": {
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
        "KUBERNETES_PORT": "tcp://10.0.0.1:443",
        "AZURE_CLIENT_ID": "00000000-0000-0000-0000-000000000001",
        "AZURE_TENANT_ID": "00000000-0000-0000-0000-000000000000",
        "AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/azure/tokens/azure-identity-token",
        "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
        "ROO_VISION_SERVICE_HOST": "10.0.7.9",
        "ROO_VISION_SERVICE_PORT": "80",
        "ROO_VISION_SERVICE_PORT_HTTP": "80",
        "ROO_VISION_PORT": "tcp://10.0.7.9:80",
        "ROO_VISION_PORT_80_TCP": "tcp://10.0.7.9:80",
        "ROO_VISION_PORT_80_TCP_PROTO": "tcp",
        "ROO_VISION_PORT_80_TCP_ADDR": "10.0.7.9",
    },
    # Application Insights' instrumentation of AKS and of App Service, where the image has no exporter of its own.
    "Application Insights": {
        "APPLICATIONINSIGHTS_CONNECTION_STRING": INSIGHTS,
        "ApplicationInsightsAgent_EXTENSION_VERSION": "~3",
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=roo-vision,cloud.provider=azure,cloud.platform=azure_aks",
        "OTEL_TRACES_EXPORTER": "azure_monitor",
        "OTEL_METRICS_EXPORTER": "azure_monitor",
        "OTEL_LOGS_EXPORTER": "azure_monitor",
    },
    "App Service": {
        "PORT": "8000",
        "WEBSITES_PORT": "8000",
        "WEBSITE_SITE_NAME": "roo-vision",
        "WEBSITE_INSTANCE_ID": "a0b1",
        "APPSETTING_WEBSITES_PORT": "8000",
        "DOCKER_CUSTOM_IMAGE_NAME": "roo-vision:cpu",
        "APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=none",
    },
    # An operator's injection (opentelemetry-operator), for a collector that is not there.
    "OpenTelemetry operator": {
        "OTEL_SERVICE_NAME": "roo-vision",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.observability:4318",
        "OTEL_PROPAGATORS": "tracecontext,baggage",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.25",
        "OTEL_METRICS_EXPORTER": "otlp,prometheus",
        "OTEL_NODE_IP": "10.224.0.4",
        "OTEL_POD_IP": "10.244.1.7",
    },
}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_service_starts_and_answers_there(repository: Path, platform: str) -> None:
    with serving(repository, {**PLATFORMS[platform], **QUIETLY}) as server, server.client() as client:
        assert client.get("/readyz").status_code == 200
        assert client.post("/v1/models/colour/predict", content=solid((9, 9, 9))).status_code == 200
        assert "Traceback" not in server.log
        server.terminate()
        assert server.wait() == 0


def test_what_container_apps_agent_injects_is_used(repository: Path) -> None:
    injected = PLATFORMS["Container Apps"] | PLATFORMS["Container Apps with its agent"]
    with collecting_grpc() as collector:
        there = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.url}/", "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with serving(repository, {**injected, **there}) as server, server.client() as client:
            client.post("/v1/models/colour/predict", content=solid((9, 9, 9)))
            until(lambda: any(span.name.startswith("POST") for span in collector.spans))
            until(lambda: collector.logs)


def test_a_connection_string_without_an_exporter_in_the_image_is_said(repository: Path) -> None:
    """The images have no exporter of Application Insights' own: there it goes by Container Apps' agent, over OTLP."""
    lock = (Path(__file__).parents[2] / "requirements-cpu.lock").read_text()
    assert "azure-monitor-opentelemetry-exporter==" not in lock
    assert "opentelemetry-exporter-otlp-proto-grpc==" in lock
    document = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text()
    assert "The images do not have it" in document
