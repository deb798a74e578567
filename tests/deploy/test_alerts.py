"""Alerts: Prometheus takes them, each fires when it should and is silent when it should be, each has its runbook."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.places import KUBERNETES, ROOT, bicep
from tests.deploy.prometheus import promtool

COMPONENT = KUBERNETES / "components" / "monitoring"
SPEC = yaml.safe_load((COMPONENT / "prometheusrule.yaml").read_text())["spec"]
RULES: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in SPEC["groups"] for rule in group["rules"]}
CASES: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "alerts.yaml").read_text())
METRIC = re.compile(r"\b((?:roo|http|process|kube|keda)_[a-z0-9_]+)\b")
OTHERS = {
    # kube-state-metrics, docs/metrics/workload
    *("kube_deployment_spec_replicas", "kube_deployment_status_replicas_available"),
    "kube_pod_container_status_waiting_reason",
    # https://keda.sh/docs/latest/integrations/prometheus/
    *("keda_scaler_metrics_value", "keda_scaler_detail_errors_total"),
}
"""What those that watch the service from outside tell."""


def documented() -> set[str]:
    """Every metric of docs/metrics.md, histograms with their parts."""
    text = (ROOT / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", text, re.MULTILINE)
    parts = {f"{name}_{part}" for name, kind in rows if kind == "histogram" for part in ("bucket", "sum", "count")}
    return {name for name, _ in rows} | parts


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(SPEC))
    return path


def test_prometheus_takes_the_rules(rules: Path) -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", str(rules))


def test_every_alert_has_a_case_of_each_kind() -> None:
    assert CASES.keys() == RULES.keys()
    assert all(case["fires"] and case["stays_silent"] for case in CASES.values())


def test_managed_prometheus_takes_the_groups_too() -> None:
    """Azure's rule groups hold twenty rules at most, and know these severities and whole minutes alone."""
    template = (ROOT / "infra" / "prometheus-rules.bicep").read_text()
    assert "loadYamlContent('../k8s/components/monitoring/prometheusrule.yaml', 'spec.groups')" in template
    known = set(re.findall(r"^  (\w+): \d$", template, re.MULTILINE))
    for group in SPEC["groups"]:
        assert len(group["rules"]) <= 20
        for rule in group["rules"]:
            assert rule["labels"].keys() == {"severity"}
            assert rule["labels"]["severity"] in known
            assert re.fullmatch(r"\d+m", rule.get("for", "0m"))


@pytest.mark.parametrize("kind", ["fires", "stays_silent"])
@pytest.mark.parametrize("name", RULES)
def test_an_alert(rules: Path, name: str, kind: str) -> None:
    case, rule = CASES[name], RULES[name]
    series = [{"series": series, "values": values} for series, values in case[kind].items()]
    labels = {**case["labels"], **rule["labels"]}
    wanted = {"eval_time": case["at"], "alertname": name, "exp_alerts": []}
    if kind == "fires":
        wanted["exp_alerts"] = [{"exp_labels": labels, "exp_annotations": {}}]
    # What the annotations say depends on the value; whether they can be rendered is checked by the rules being taken.
    bare = {"groups": [{"name": "one", "rules": [{key: rule[key] for key in rule if key != "annotations"}]}]}
    rules.write_text(yaml.safe_dump(bare))
    tests = {"rule_files": [rules.name], "evaluation_interval": "1m"}
    tests["tests"] = [{"interval": "1m", "input_series": series, "alert_rule_test": [wanted]}]
    path = rules.with_name("tests.yaml")
    path.write_text(yaml.safe_dump(tests))
    assert "SUCCESS" in promtool("test", "rules", str(path))


@pytest.mark.parametrize("name", RULES)
def test_an_alert_names_only_metrics_that_there_are_and_a_runbook_that_there_is(name: str) -> None:
    rule = RULES[name]
    assert set(METRIC.findall(rule["expr"])) <= documented() | OTHERS
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    file, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^### (\w+)$", (ROOT / file).read_text(), re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}


RUNBOOK = (ROOT / "docs/operations.md").read_text()
AZURE = (ROOT / "infra/alerts.bicep").read_text()
AZURE_ALERTS = re.findall(r"^    name: '([\w-]+)'\n    description:", AZURE, re.MULTILINE)
TYPED = re.compile(r"`(?:kubectl|roo-vision|curl|az) [^`]+`")


@pytest.mark.parametrize("name", [*RULES, *AZURE_ALERTS])
def test_the_runbook_says_what_to_type_and_what_mends_it(name: str) -> None:
    (section,) = re.findall(rf"^### {name}\n\n(.*?)(?=^##)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert TYPED.search(section), "a command that somebody can type at night"
    assert "First look" in section
    assert re.search(r"\b[Cc]ure: ", section)


def test_azures_backlog_is_ten_times_what_calls_a_replica() -> None:
    """Also where the file is deployed by itself, for AKS."""
    container_app = bicep("containerapp.bicep")
    assert int(bicep("infra/alerts.bicep").default("backlog")) == 10 * int(container_app.default("messageCount"))
    (passed,) = (body for name, _, body in container_app.modules() if name == "alerts")
    assert "backlog: perReplica * 10\n" in passed


def test_dead_letters_of_the_second_queue_are_seen_and_throttling_of_the_whole_namespace() -> None:
    """The limit is the namespace's, and what it refuses of its own operations is under no queue's name."""
    (passed,) = (body for name, _, body in bicep("containerapp.bicep").modules() if name == "alerts")
    assert "bulkQueue: bulkQueue\n" in passed
    watched = dict(re.findall(r"metric: '(\w+)', .* dimensions: (\w+) ", AZURE))
    assert watched["DeadletteredMessages"] == "allOfThem"
    assert "values: empty(bulkQueue) ? [entity, resultsQueue] : [entity, bulkQueue, resultsQueue]" in AZURE
    assert watched["ThrottledRequests"] == watched["ServerErrors"] == "namespaceItself"


def test_somebody_is_told_of_the_clusters_alerts() -> None:
    """Every documented command that makes rules names the action group that `alertEmails` makes."""
    assert "name: '${name}-people'" in AZURE
    deployment = (ROOT / "docs/deployment.md").read_text()
    for file in ("infra/prometheus-rules.bicep", "infra/aks.bicep"):
        commands = re.findall(rf"az deployment group create .*-f {file} (?:.*\\\n)*.*", deployment)
        assert commands
        assert all("actionGroupId=$" in command for command in commands)
    assert deployment.count("az monitor action-group show -g $GROUP -n roo-vision-people --query id -o tsv") == 2


def test_the_runbook_speaks_of_the_queues_that_are_shipped() -> None:
    """What is typed at night is typed as it stands."""
    named = re.findall(r"--queue (\w+)|EntityName includes (\w+)", RUNBOOK)
    shipped = {bicep("containerapp.bicep").default(name) for name in ("queue", "resultsQueue")}
    assert {queue or entity for queue, entity in named} == shipped
