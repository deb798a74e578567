"""containerapp.bicep: equal to the settings and to the manifests where they say the same, and bounded as Azure is."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from app.repository.sources.containers import place_of
from app.settings import load_settings
from tests.deploy.places import KUBERNETES, PORT, PROBES, ROOT, containerapp

BICEP = containerapp()


def keda() -> dict[str, object]:
    """The ScaledObject's spec, as it is written."""
    return dict(yaml.safe_load((KUBERNETES / "components/keda/scaledobject.yaml").read_text())["spec"])


def base_settings() -> dict[str, str]:
    """k8s/base/settings.env."""
    lines = (KUBERNETES / "base/settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


EVERYWHERE = ("environmentVariables", "callerVariables", "storageVariables", "sessionVariables", "bulkVariables")
MODELS = "modelsVariables"
"""What is set where models are pulled from a container of blobs."""
CALLERS = {
    "none": (),
    "keys": ("keyVariables",),
    "entra": ("tokenVariables", "tenantVariables"),
    "keys+entra": ("keyVariables", "tokenVariables", "issuerVariables"),
}
"""What is set for each way of asking; `keys+entra` with an issuer in place of the tenant."""


def values(auth: str = "keys", source: str = "", bulk: str = "bulk") -> dict[str, str]:
    """What the expressions of the container's variables come to, on a CPU, where people ask in this way.

    `source` is what is received from first, where that is not the queue by default; `bulk` is the second queue.
    """
    source = source or BICEP.default("queue")
    size = BICEP.sizes()["cpu"]
    known = {
        "size.device": size["device"],
        "string(size.held)": size["held"],
        "string(size.inflightBytes)": size["inflightBytes"],
        "string(size.decodeBytes)": size["decodeBytes"],
        "string(drainDelay)": BICEP.variable("drainDelay"),
        "string(gracePeriod)": BICEP.variable("gracePeriod"),
        "empty(bulkQueue) ? source : '${source},${bulkQueue}'": f"{source},{bulk}",
        "'${source}=${sessions}'": f"{source}=8",
        "'${bulkQueue}=0.${padLeft(bulkShare, 2, '0')}'": f"{bulk}=0.{int(BICEP.default('bulkShare')):02}",
        "resultsQueue": BICEP.default("resultsQueue"),
        "auth": auth,
        "keys || tokens ? 'true' : 'false'": str(auth != "none").lower(),
        "metricsOpen ? 'true' : 'false'": BICEP.default("metricsOpen"),
        "string(rateLimit)": BICEP.default("rateLimit"),
        "entraAudience": "00000000-0000-0000-0000-000000000003",
        "entraRoles": BICEP.default("entraRoles"),
        "entraTenant": "00000000-0000-0000-0000-000000000000",
        "entraIssuer": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/",
    }
    variables = BICEP.environment(*EVERYWHERE, *CALLERS[auth])
    return {name: known.get(value, value.strip("'")) for name, value in variables.items()}


@pytest.mark.parametrize("auth", CALLERS)
def test_the_service_would_start_with_it(monkeypatch: pytest.MonkeyPatch, auth: str) -> None:
    variables = values(auth)
    assert {"ROO_QUEUE", "ROO_BLOB_ACCOUNTS"} <= set(variables)
    for name, value in variables.items():
        if name.startswith("ROO_"):
            monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.queue == ("pictures", "bulk")
    assert settings.queue_share == {"bulk": 0.1}
    assert settings.reply_to == ("results",)
    assert settings.environment == "production"
    assert settings.http is (auth != "none")


def test_models_come_from_one_container_that_may_only_be_read() -> None:
    assert BICEP.default("modelsAccountName") == ""
    assert BICEP.variable("modelsUrl").endswith("/${modelsContainer}")
    granted = BICEP.resource("workerReadsModels")
    assert "scope: models\n" in granted
    assert "roles.storageBlobDataReader)" in granted
    variables = BICEP.environment(MODELS)
    assert variables["ROO_MODELS_SOURCE"] == "empty(modelsFolder) ? modelsUrl : '${modelsUrl}/${modelsFolder}'"
    url = re.sub(r"\$\{.*?\}", "robots", BICEP.variable("modelsUrl"))
    assert place_of(urlsplit(url)).container == "robots"
    assert f"mountPath: {variables['ROO_MODELS_CACHE']}" in BICEP.block("modelsMounts")
    assert "storageType: 'EmptyDir'" in BICEP.block("modelsVolumes")
    app = BICEP.resource("app")
    assert "periodSeconds: empty(modelsAccountName) ? size.startupPeriod : 30" in app
    assert "    workerReadsModels\n" in app


def test_a_subscription_takes_the_queues_place_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BICEP.default("topic") == ""
    for name, value in values(source="shots/subscriptions/vision").items():
        monkeypatch.setenv(name, value)
    assert load_settings().queue == ("shots/subscriptions/vision", "bulk")
    assert BICEP.variable("source") == "empty(topic) ? queue : '${topic}/subscriptions/${subscription}"
    queue, subscription = BICEP.resource("newQueue"), BICEP.resource("newSubscription")
    for setting in ("requiresSession", "lockDuration", "maxDeliveryCount", "deadLetteringOnMessageExpiration"):
        (of_queue,), (of_it,) = (re.findall(rf"{setting}: (.+)", text) for text in (queue, subscription))
        assert of_queue == of_it
    counted = BICEP.block("counted")
    assert re.findall(r"(\w+): (\w+)", counted) == [
        ("queueName", "queue"),
        ("topicName", "topic"),
        ("subscriptionName", "subscription"),
    ]
    for name in ("newQueue", "pictures", "workerReceives", "scalerCounts"):
        assert re.search(r"if \((createServiceBus && )?empty\(topic\)\)", BICEP.resource(name)), name
    for name in ("newTopic", "newSubscription", "pictureTopic", "workerSubscribes", "scalerCountsSubscription"):
        assert re.search(r"if \((createServiceBus && )?!empty\(topic\)\)", BICEP.resource(name)), name


def test_a_second_queue_is_made_received_and_counted() -> None:
    assert BICEP.default("bulkQueue") == ""
    first, second = BICEP.resource("newQueue"), BICEP.resource("newBulkQueue")
    for setting in ("lockDuration", "maxDeliveryCount", "deadLetteringOnMessageExpiration", "defaultMessageTimeToLive"):
        (of_first,), (of_second,) = (re.findall(rf"{setting}: (.+)", text) for text in (first, second))
        assert of_first == of_second
    for name in ("newBulkQueue", "bulkPictures", "workerReceivesBulk", "scalerCountsBulk"):
        assert re.search(r"if \((createServiceBus && )?!empty\(bulkQueue\)\)", BICEP.resource(name)), name
    rule, app = BICEP.block("bulkRules"), BICEP.resource("app")
    assert "queueName: bulkQueue" in rule
    for setting in ("messageCount: .+", "activationMessageCount: .+", "namespace: .+", "type: 'azure-.+"):
        assert re.findall(setting, rule) == re.findall(setting, app)
    assert "rules: concat(bulkRules, [" in app


def test_every_variable_is_one_that_some_way_of_asking_gets() -> None:
    named = {name for groups in CALLERS.values() for name in BICEP.environment(*EVERYWHERE, MODELS, *groups)}
    assert named == set(BICEP.environment())
    (listed,) = re.findall(r"env: concat\((.*?)\)", BICEP.resource("app"), re.DOTALL)
    groups = {*EVERYWHERE, MODELS}.union(*CALLERS.values())
    assert {name.strip(" ,") for name in listed.split()} == groups


def test_nobody_asks_before_somebody_says_who_may() -> None:
    assert BICEP.default("keyVaultName") == BICEP.default("entraAudience") == ""
    assert BICEP.default("externalIngress") == BICEP.default("metricsOpen") == "false"
    chosen = "keys && tokens ? 'keys+entra' : (keys ? 'keys' : (tokens ? 'entra' : 'none'))"
    assert BICEP.variable("auth") == chosen
    assert BICEP.variable("keys") == "!empty(keyVaultName)"
    assert BICEP.variable("tokens") == "!empty(entraAudience)"


def test_it_listens_and_is_probed_where_the_service_answers() -> None:
    assert int(BICEP.variable("port")) == PORT
    probes = re.findall(r"type: '(\w+)'\s+httpGet: \{\s+path: '(/\w+)'\s+port: (\w+)", BICEP.resource("app"))
    assert {(kind.lower(), path, port) for kind, path, port in probes} == {
        (kind, path, "port") for kind, path in PROBES.items()
    }


def test_probes_keep_to_what_container_apps_allow() -> None:
    app = BICEP.resource("app")
    assert all(int(count) <= 10 for count in re.findall(r"failureThreshold: (\d+)", app))
    assert all(int(size["startupPeriod"]) <= 240 for size in BICEP.sizes().values())


def test_it_stops_as_the_pods_do() -> None:
    pod = yaml.safe_load((KUBERNETES / "base/deployment.yaml").read_text())["spec"]["template"]["spec"]
    settings = base_settings()
    assert BICEP.variable("gracePeriod") == settings["ROO_GRACE_PERIOD"]
    assert BICEP.variable("drainDelay") == settings["ROO_DRAIN_DELAY"]
    assert int(BICEP.variable("terminationGracePeriod")) == pod["terminationGracePeriodSeconds"]
    assert int(BICEP.variable("gracePeriod")) + 5 < int(BICEP.variable("terminationGracePeriod"))


def test_it_scales_as_keda_does() -> None:
    spec = keda()
    (trigger,) = spec["triggers"]  # type: ignore[misc]
    assert trigger["type"] == "azure-servicebus"
    assert BICEP.default("messageCount") == trigger["metadata"]["messageCount"]
    assert int(BICEP.default("minReplicas")) == spec["minReplicaCount"] == 0
    assert int(BICEP.default("maxReplicas")) == spec["maxReplicaCount"] == 50
    app = BICEP.resource("app")
    for name, written in (("pollingInterval", "pollingInterval"), ("cooldownPeriod", "cooldownPeriod")):
        assert re.findall(rf"{name}: (\d+)", app) == [str(spec[written])]
    assert re.findall(r"activationMessageCount: '(\d+)'", app) == [trigger["metadata"]["activationMessageCount"]]


def test_the_reason_for_the_message_count_is_the_same_in_both() -> None:
    comment = re.findall(r"^ +# (.+)$", (KUBERNETES / "components/keda/scaledobject.yaml").read_text(), re.MULTILINE)
    (described,) = re.findall(r"@description\('''(Messages per replica.*?)'''\)", BICEP.text, re.DOTALL)
    assert " ".join(described.split()) in " ".join(comment)


def test_queues_have_the_same_names_everywhere() -> None:
    azure = yaml.safe_load((KUBERNETES / "overlays/cpu/azure.yaml").read_text())["data"]
    assert BICEP.default("queue") == azure["queue"]
    assert BICEP.default("resultsQueue") == azure["resultsQueue"]
    app = BICEP.resource("app")
    assert "metadata: union(counted, {" in app
    assert "queueName: queue" in BICEP.block("counted")
    assert "namespace: serviceBusName" in app


def test_the_queues_do_what_the_service_relies_on() -> None:
    pictures, results = BICEP.resource("newQueue"), BICEP.resource("newResultsQueue")
    assert "requiresDuplicateDetection: true" in results
    assert "deadLetteringOnMessageExpiration: true" in pictures
    assert "lockDuration: 'PT1M'" in pictures
    devbus = (KUBERNETES / "overlays/local/devbus.yaml").read_text()
    assert "pictures,lock=60,max_delivery=10" in devbus
    assert "maxDeliveryCount: 10" in pictures
    assert "dedup=3600" in devbus
    assert "duplicateDetectionHistoryTimeWindow: 'PT1H'" in results


def test_the_scalers_rights_never_enter_the_container() -> None:
    app = BICEP.resource("app")
    lifecycles = dict(re.findall(r"identity: (\w+)\.id\s+lifecycle: '(\w+)'", app))
    assert lifecycles == {"worker": "Main", "scaler": "None"}
    granted = re.findall(r"principalId: (\w+)\.properties\.principalId.*?roles\.(\w+)\)", BICEP.text, re.DOTALL)
    assert {role for who, role in granted if who == "worker"} == {
        "serviceBusDataReceiver",
        "serviceBusDataSender",
        "storageBlobDataReader",
        "storageBlobDataContributor",
    }
    assert "identity: scaler.id" in app


def test_there_are_no_keys() -> None:
    assert "disableLocalAuth: true" in BICEP.text
    assert "adminUserEnabled: false" in BICEP.text
    assert not re.search(r"listKeys\(\)(?!\.primarySharedKey)|connectionString|@secure", BICEP.text)


def test_secrets_are_mounted_where_the_pods_have_them() -> None:
    patch = (KUBERNETES / "components/azure/deployment.yaml").read_text()
    provider = (KUBERNETES / "components/azure/secretproviderclass.yaml").read_text()
    assert "mountPath: '/mnt/secrets'" in BICEP.text
    assert "mountPath: /mnt/secrets" in patch
    assert f"objectName: {BICEP.default('apiKeysSecret')}" in provider
    assert "objectAlias: api-keys" in provider
    assert "path: 'api-keys'" in BICEP.text
    azure = (KUBERNETES / "components/azure/kustomization.yaml").read_text()
    assert f"ROO_API_KEYS_FILE={values()['ROO_API_KEYS_FILE']}" in azure


def test_new_keys_are_fetched_because_no_version_is_named() -> None:
    (url,) = re.findall(r"keyVaultUrl: '(.*)'", BICEP.resource("app"))
    assert url.endswith("/secrets/${apiKeysSecret}")


def test_every_parameter_is_described_and_has_a_default() -> None:
    lines = BICEP.text.splitlines()
    for index, line in enumerate(lines):
        if line.startswith("param "):
            assert " = " in line, line
            block = "\n".join(lines[max(0, index - 8) : index]).rpartition("\n\n")[2]
            assert "@description(" in block, line


def test_the_document_names_parameters_and_outputs_that_are_there() -> None:
    text = (ROOT / "docs" / "deployment.md").read_text()
    (section,) = re.findall(r"## Azure Container Apps\n(.*?)\n## ", text, re.DOTALL)
    named = set(re.findall(r"\b([a-z]\w+)=", section))
    assert {"image", "minReplicas", "stableRevision"} <= named
    assert named <= set(re.findall(r"^param (\w+)", BICEP.text, re.MULTILINE))
    outputs = set(re.findall(r"properties\.outputs\.(\w+)", section))
    assert outputs <= set(re.findall(r"^output (\w+)", BICEP.text, re.MULTILINE))


def test_a_gpu_is_chosen_by_one_parameter() -> None:
    sizes = BICEP.sizes()
    assert {name: size["profileType"] for name, size in sizes.items()} == {
        "cpu": "Consumption",
        "gpu-t4": "Consumption-GPU-NC8as-T4",
        "gpu-a100": "Consumption-GPU-NC24-A100",
    }
    assert {size["device"] for name, size in sizes.items() if name != "cpu"} == {"cuda"}
    assert re.findall(r"@allowed\((\[.*?\])\)\nparam compute", BICEP.text) == [str(list(sizes))]


def test_its_syntax_is_bicep() -> None:
    reason = "tree-sitter-bicep is not installed: the syntax was NOT checked here (the workflow runs `bicep build`)"
    tree_sitter = pytest.importorskip("tree_sitter", reason=reason)
    grammar = pytest.importorskip("tree_sitter_bicep", reason=reason)
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    text = Path(ROOT / "containerapp.bicep").read_bytes()
    assert not parser.parse(text).root_node.has_error
    assert parser.parse(text.replace(b"var sizes = {", b"var sizes =", 1)).root_node.has_error
