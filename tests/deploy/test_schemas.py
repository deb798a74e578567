"""Every declaration of Bicep and every custom resource is checked against its schema, and mistakes are found."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import CUSTOM, Document, compose, render
from tests.deploy.places import BICEP_FILES, KUBERNETES, ROOT
from tests.deploy.schemas import check, declarations, of_kinds, tools, unrolled

FOLDERS = [
    *sorted(path.parent for path in KUBERNETES.glob("overlays/*/kustomization.yaml")),
    KUBERNETES / "components/kserve",
]
BEYOND = [
    ("azure", "gateway", "canary", "keda", "http", "bulk-queue", "monitoring"),
    ("azure", "gateway", "private", "keda", "subscription", "http-azure", "monitoring-azure", "gpu", "gpu-dra"),
]
ALONE = [
    *("components/monitoring/podmonitor.yaml", "components/monitoring/prometheusrule.yaml"),
    "components/monitoring-azure/podmonitor.yaml",
]

PLACES = {"Microsoft.KeyVault/vaults/secrets@2026-02-01"}
"""Kinds of which no schema is at hand, and which are only named as the place that a role is given on."""

every = pytest.mark.parametrize("file", BICEP_FILES)


def bicep_says(text: str, folder: Path) -> tuple[str, bool]:
    """What the checker prints about a Bicep file, and whether it found nothing wrong."""
    file = folder / "file.bicep"
    file.write_text(unrolled(text))
    done = check("check_bicep.py", tools() / "schemas/bicep", file)
    return done.stdout + done.stderr, done.returncode == 0


@every
def test_every_declaration_of_bicep_is_checked(file: str, tmp_path: Path) -> None:
    text = (ROOT / file).read_text()
    said, well = bicep_says(text, tmp_path)
    assert well, said
    named = [body for kind in PLACES for body in re.findall(rf"^resource \w+ '{kind}' (.*?)^}}", text, re.M | re.S)]
    for body in named:
        assert body.startswith("existing ")
        assert re.findall(r"^ +(\w+): ", body, re.MULTILINE) == ["parent", "name"]
    assert said.count("note: no schema") == len(named), said
    assert f"{declarations(text) - len(named)} resources checked against a schema, 0 errors, 0 warnings" in said


@pytest.mark.parametrize(
    ("file", "there", "wrong", "told"),
    [
        ("containerapp.bicep", "    adminUserEnabled: false", "    adminUsers: false", "'adminUsers'"),
        ("containerapp.bicep", "      pollingInterval: 10", "      pollInterval: 10", "'pollInterval'"),
        ("infra/servicebus.bicep", "lockDuration: 'PT1M'", "lockDuration: 60", "expected string"),
        ("infra/servicebus.bicep", "minimumTlsVersion: '1.2'", "minimumTlsVersion: '1.9'", "'1.9'"),
        (
            "infra/servicebus.bicep",
            "trustedServiceAccessEnabled: true",
            "trustedServiceAccess: true",
            "'trustedService",
        ),
        ("infra/storage.bicep", "allowSharedKeyAccess: false", "sharedKeyAccess: false", "'sharedKeyAccess'"),
        ("infra/storage.bicep", "            actions: {", "            action: {", "'actions' is missing"),
        ("infra/events.bicep", "        type: 'SystemAssigned'", "        type: 'System'", "'System' is none"),
        ("infra/events.bicep", "blobContainerName:", "containerName:", "'containerName'"),
        ("infra/models-share.bicep", "accessMode: 'ReadOnly'", "accessMode: 'Read'", "'Read' is none"),
        ("infra/roles.bicep", "    principalId: worker\n", "", "'principalId' is missing"),
        ("infra/network.bicep", "groupIds: [place.group]", "groupId: place.group", "'groupId'"),
        ("infra/aks.bicep", "    oidcIssuerProfile: {", "    oidcIssuer: {", "'oidcIssuer'"),
        ("infra/aks.bicep", "        mode: 'System'", "        mode: 'Systems'", "'Systems' is none"),
        ("infra/aks.bicep", "      minCount: 0", "      minimum: 0", "'minimum'"),
        ("infra/main.bicep", "  location: location\n  tags: tags", "  tags: tags", "'location' is missing"),
        ("infra/alerts.bicep", "      severity: rule.severity\n", "", "'severity' is missing"),
        ("infra/prometheus-rules.bicep", "          expression: rule.expr\n", "", "'expression' is missing"),
        ("infra/insights.bicep", "Application_Type: 'web'", "ApplicationType: 'web'", "'ApplicationType'"),
    ],
)
def test_a_mistake_in_bicep_is_found(tmp_path: Path, file: str, there: str, wrong: str, told: str) -> None:
    text = (ROOT / file).read_text()
    assert there in text
    said, _ = bicep_says(text.replace(there, wrong, 1), tmp_path)
    assert told in said
    assert "0 errors, 0 warnings" not in said


def custom_resources(documents: list[Document], file: Path) -> str:
    """What the checker prints about the custom resources among these."""
    file.write_text(yaml.safe_dump_all(documents))
    schemas = of_kinds({document["kind"] for document in documents}, file.with_name("schemas"))
    done = check("check_custom_resources.py", schemas, file)
    return done.stdout + done.stderr


def of_azures_group(document: Document) -> Document:
    """Managed Prometheus' own kind is the operator's under another group, as its page says."""
    return {
        **document,
        "apiVersion": document["apiVersion"].replace("azmonitoring.coreos.com", "monitoring.coreos.com"),
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_custom_resource_is_checked(folder: Path, tmp_path: Path) -> None:
    documents = render(folder)
    custom = [document for document in documents if document["kind"] in CUSTOM]
    others = {document["apiVersion"] for document in documents if document["kind"] not in CUSTOM}
    assert all("." not in version.split("/")[0] or version.split("/")[0].endswith(".k8s.io") for version in others)
    if custom:
        said = custom_resources(custom, tmp_path / "file.yaml")
        assert f"{len(custom)} custom resources checked, 0 errors" in said, said


def test_what_components_add_to_the_overlays_is_checked(tmp_path: Path) -> None:
    tree = shutil.copytree(KUBERNETES, tmp_path / "k8s")
    documents = [document for components in BEYOND for document in render(compose(tree, components))]
    custom = [document for document in documents if document["kind"] in CUSTOM]
    said = custom_resources([of_azures_group(document) for document in custom], tmp_path / "file.yaml")
    assert f"{len(custom)} custom resources checked, 0 errors" in said, said


@pytest.mark.parametrize("name", ALONE)
def test_monitoring_is_checked(name: str, tmp_path: Path) -> None:
    document = of_azures_group(yaml.safe_load((KUBERNETES / name).read_text()))
    assert "1 custom resources checked, 0 errors" in custom_resources([document], tmp_path / "file.yaml")


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("HTTPRoute", "request: 60s", "request: 60"),
        ("HTTPRoute", "weight: 100", "weigth: 100"),
        ("Gateway", "mode: Terminate", "mode: Terminates"),
        ("ScaledObject", "pollingInterval", "pollInterval"),
        ("SecretProviderClass", "provider: azure", "providers: azure"),
    ],
)
def test_a_mistake_in_a_custom_resource_is_found(tmp_path: Path, kind: str, old: str, new: str) -> None:
    (document,) = (each for each in render(KUBERNETES / "overlays/cpu") if each["kind"] == kind)
    text = yaml.safe_dump(document)
    assert old in text
    said = custom_resources([yaml.safe_load(text.replace(old, new))], tmp_path / "file.yaml")
    assert "FAIL" in said, said
