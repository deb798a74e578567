"""The Helm chart is made of the overlays, renders what they do, and refuses values that it does not know."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.chart_values import OPTIONS
from k8s.make_chart import BY_HAND, CHART, chart
from tests.deploy import helm
from tests.deploy.manifests import Document, compose, of_kind, render, service_container
from tests.deploy.places import KUBERNETES

NAMES = {
    "clientId": "11111111-2222-3333-4444-555555555555",
    "serviceBusNamespace": "robots-bus",
    "queue": "shelves",
    "resultsQueue": "answers",
    "host": "robots.example.org",
    "endpointAddresses": "10.9.8.0/24",
}


def by_name(documents: list[Document]) -> dict[tuple[str, str, str], Document]:
    """Documents by API version, kind and name."""
    return {(each["apiVersion"], each["kind"], each["metadata"]["name"]): each for each in documents}


def test_the_chart_is_what_the_overlays_make_of_it() -> None:
    files = {str(path.relative_to(CHART)): path for path in CHART.rglob("*") if path.is_file()}
    there = {name: path.read_text() for name, path in files.items() if name not in BY_HAND}
    assert there == chart(), "run `make chart`"
    assert files["dashboard.json"].resolve() == KUBERNETES / "components" / "monitoring" / "dashboard.json"


@pytest.mark.parametrize(
    ("overlay", "values"), [("cpu", {}), ("gpu", {"gpu": True}), ("azure-private", {"private": True})]
)
def test_it_renders_what_an_overlay_does(tmp_path: Path, overlay: str, values: dict[str, Any]) -> None:
    made = helm.render(CHART, values, tmp_path)
    assert by_name(made) == by_name(render(KUBERNETES / "overlays" / overlay))


@pytest.mark.parametrize(
    ("values", "components"),
    [
        ({"gateway": False, "http": "cpu", "monitoring": "operator"}, ["keda", "http", "monitoring"]),
        ({"http": "prometheus", "monitoring": "azure"}, ["gateway", "keda", "monitoring-azure", "http-azure"]),
        ({"keda": False, "spot": True, "verifyImages": True}, ["gateway", "spot", "verify-images"]),
        ({"private": True, "spot": True, "http": "cpu"}, ["gateway", "private", "keda", "http", "spot"]),
    ],
    ids=lambda value: "-".join(value),
)
def test_with_other_names_and_values_it_renders_what_the_components_do(
    tmp_path: Path, values: dict[str, Any], components: list[str]
) -> None:
    tree = shutil.copytree(KUBERNETES, tmp_path / "k8s")
    made = helm.render(CHART, {**values, "azure": NAMES}, tmp_path)
    assert by_name(made) == by_name(render(compose(tree, ["azure", *components], NAMES)))


def test_a_setting_of_ones_own_is_there_and_rolls_the_pods(tmp_path: Path) -> None:
    tree = shutil.copytree(KUBERNETES, tmp_path / "k8s")
    overlay = compose(tree, ["azure", "keda"])
    kustomization = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    literals = ["ROO_REQUEST_TIMEOUT=10", "ROO_DRAIN_DELAY=7", "OTEL_SERVICE_NAME=<robots & people>"]
    kustomization["configMapGenerator"] = [{"name": "settings", "behavior": "merge", "literals": literals}]
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    settings = dict(literal.split("=", 1) for literal in literals)
    made = helm.render(CHART, {"gateway": False, "settings": settings}, tmp_path)
    assert by_name(made) == by_name(render(overlay))


def test_numbers_image_and_namespace_are_values(tmp_path: Path) -> None:
    digest = "sha256:" + "0a" * 32
    values: dict[str, Any] = {
        **{"minReplicas": 2, "maxReplicas": 20, "messagesPerReplica": 2_000_000, "namespace": "robots"},
        "image": {"repository": "robots.azurecr.io/vision", "digest": digest},
        "monitoring": "operator",
    }
    made = helm.render(CHART, values, tmp_path)
    (scaled,) = of_kind(made, "ScaledObject")
    assert (scaled["spec"]["minReplicaCount"], scaled["spec"]["maxReplicaCount"]) == (2, 20)
    assert scaled["spec"]["triggers"][0]["metadata"]["messageCount"] == "2000000"
    assert service_container(made)["image"] == f"robots.azurecr.io/vision@{digest}"
    spaces = {space["metadata"]["name"] for space in of_kind(made, "Namespace")}
    assert spaces == {"robots", "robots-gateway"}
    namespaces = {each["metadata"]["namespace"] for each in made if each["kind"] != "Namespace"}
    assert namespaces == spaces
    (route,) = of_kind(made, "HTTPRoute")
    assert route["spec"]["parentRefs"][0]["namespace"] == "robots-gateway"
    (rules,) = of_kind(made, "PrometheusRule")
    assert 'namespace="roo-vision"' not in str(rules)
    tagged = helm.render(CHART, {"gpu": True, "image": {"tag": "nightly-20261130-cuda"}}, tmp_path)
    assert service_container(tagged)["image"].endswith("/roo-vision:nightly-20261130-cuda")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": 3}, "replicas"),
        ({"keda": "yes"}, "keda"),
        ({"http": "memory"}, "http"),
        ({"azure": {"queu": "shelves"}}, "queu"),
        ({"azure": {"queue": 'a"b'}}, "queue"),
        ({"image": {"digest": "0a0a"}}, "digest"),
        ({"maxReplicas": 0}, "maxReplicas"),
        ({"settings": {"ROO_LANES": 2}}, "ROO_LANES"),
        ({"settings": {"LANES": "2"}}, "LANES"),
        ({"namespace": "Robots"}, "namespace"),
    ],
    ids=str,
)
def test_a_value_that_it_does_not_know_is_refused(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    done = helm.template(CHART, values, tmp_path)
    assert done.returncode != 0
    assert said in done.stderr


def test_lint_finds_nothing() -> None:
    done = helm.lint(CHART)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_names_every_value() -> None:
    text = (KUBERNETES / "README.md").read_text().partition("## With Helm")[2].partition("\n## ")[0]
    for name in [
        *OPTIONS,
        "namespace",
        "image",
        "minReplicas",
        "maxReplicas",
        "messagesPerReplica",
        "settings",
        "azure",
    ]:
        assert f"`{name}`" in text, name
