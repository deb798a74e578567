"""containerapp.bicep: equal to the settings and to the manifests where they say the same, and bounded as Azure is."""

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from app.repository.sources.containers import place_of
from app.settings import load_settings
from tests.deploy.places import KUBERNETES, PORT, PROBES, ROOT, bicep

BICEP = bicep("containerapp.bicep")
BUS = bicep("infra/servicebus.bicep")
ROLES = bicep("infra/roles.bicep")


def keda() -> dict[str, object]:
    """The ScaledObject's spec, as it is written."""
    return dict(yaml.safe_load((KUBERNETES / "components/keda/scaledobject.yaml").read_text())["spec"])


def base_settings() -> dict[str, str]:
    """k8s/base/settings.env."""
    lines = (KUBERNETES / "base/settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


EVERYWHERE = ("environmentVariables", "callerVariables", "storageVariables")
WORKER = ("queueVariables", "sessionVariables", "bulkVariables")
"""What is set where messages are taken."""
SINKS = ("cosmosVariables", "webhookVariables")
"""What is set where results are kept beside the results queue."""
MODELS = ("modelsVariables", "shareVariables", "trustVariables")
"""What is set where models are pulled from a container of blobs, mounted, or have to be signed."""
CALLERS = {
    "none": (),
    "keys": ("keyVariables",),
    "entra": ("tokenVariables", "tenantVariables"),
    "keys+entra": ("keyVariables", "tokenVariables", "issuerVariables"),
}
"""What is set for each way of asking; `keys+entra` with an issuer in place of the tenant."""


def values(auth: str = "keys", source: str = "", bulk: str = "bulk", worker: bool = True) -> dict[str, str]:
    """What the expressions of the container's variables come to, on a CPU, where people ask in this way.

    `source` is what is received from first, where that is not the queue by default; `bulk` is the second queue.
    """
    source = source or BICEP.default("queue")
    size = BICEP.sizes()["cpu"]
    known = {
        "size.device": size["device"],
        "serviceBusHost": "robots.servicebus.windows.net",
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
    variables = BICEP.environment(*EVERYWHERE, *(WORKER if worker else ()), *CALLERS[auth])
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


def test_a_revision_that_is_no_worker_takes_no_messages_and_is_not_called_by_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert BICEP.default("worker") == "empty(stableRevision)"
    for name, value in values(worker=False).items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.queue, settings.http) == ((), True)
    for block in (*WORKER, "queueRules", "bulkRules"):
        assert BICEP.block(block).startswith("!worker"), block


def test_results_are_kept_elsewhere_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clouds = json.loads((ROOT / "infra/clouds.json").read_text())
    found = BICEP.environment(*SINKS)
    known = {
        "'https://${cosmosAccountName}.${cloud.cosmos}'": f"https://robots.{clouds['AzureCloud']['cosmos']}",
        "cosmosDatabase": BICEP.default("cosmosDatabase"),
        "cosmosContainer": BICEP.default("cosmosContainer"),
        "webhookUrl": "https://hooks.example.com/results",
        "'/mnt/webhook/secret'": "/mnt/webhook/secret",
    }
    for name, value in {**values(), **{name: known[value] for name, value in found.items()}}.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.has_sinks
    assert settings.cosmos_key is None  # the worker's identity
    # Without a queue the service would not start with them.
    assert BICEP.block("cosmosVariables").startswith("!worker")
    assert BICEP.variable("webhook") == "worker && keys && !empty(webhookUrl)"
    assert (
        f"objectName: {BICEP.default('webhookSecret')}\n"
        in (KUBERNETES / "components/webhook/secretproviderclass.yaml").read_text()
    )
    role = bicep("infra/cosmos-role.bicep").resource("workerKeepsResults")
    assert "scope: '${account.id}/dbs/${database}/colls/${container}'" in role


def test_a_second_revision_is_called_for_its_share_of_the_messages_only() -> None:
    """Both revisions' scalers count the same queue: with 10 per cent, 10 times the messages call a replica."""
    assert BICEP.variable("share") == "empty(stableRevision) ? 100 : max(1, newRevisionWeight)"
    assert BICEP.variable("calls") == "string(perReplica * 100 / share)"
    assert BICEP.variable("mostOfShare") == "max(1, minReplicas, most * share / 100)"
    app = BICEP.resource("app")
    assert "maxReplicas: mostOfShare\n" in app
    for rules in ("queueRules", "bulkRules"):
        assert "messageCount: calls\n" in BICEP.block(rules)


def test_a_gpu_has_a_count_and_a_maximum_of_its_own() -> None:
    assert BICEP.variable("perReplica") == "compute == 'cpu' ? messageCount : messageCountGpu"
    assert BICEP.variable("most") == "compute == 'cpu' ? maxReplicas : maxReplicasGpu"
    cores = {name: int(size["cpu"]) for name, size in BICEP.sizes().items()}
    times = cores["gpu-t4"] // cores["cpu"]
    assert int(BICEP.default("messageCountGpu")) == times * int(BICEP.default("messageCount"))


def test_models_come_from_one_container_that_may_only_be_read() -> None:
    assert BICEP.default("modelsAccountName") == ""
    assert BICEP.variable("modelsUrl").endswith("/${modelsContainer}")
    granted = ROLES.resource("workerReadsModels")
    assert "scope: models\n" in granted
    assert "roles.storageBlobDataReader)" in granted
    variables = BICEP.environment("modelsVariables")
    assert variables["ROO_MODELS_SOURCE"] == "empty(modelsFolder) ? modelsUrl : '${modelsUrl}/${modelsFolder}'"
    url = re.sub(r"\$\{.*?\}", "robots", BICEP.variable("modelsUrl"))
    assert place_of(urlsplit(url)).container == "robots"
    assert f"mountPath: {variables['ROO_MODELS_CACHE']}" in BICEP.block("modelsMounts")
    assert "storageType: 'EmptyDir'" in BICEP.block("modelsVolumes")


def test_a_mounted_share_takes_the_place_of_what_is_pulled_and_is_read_only() -> None:
    assert BICEP.variable("pulled") == "!empty(modelsAccountName) && empty(modelsShare)"
    assert BICEP.environment("shareVariables") == {"ROO_MODELS_DIR": "'/mnt/models'"}
    share = bicep("infra/models-share.bicep").resource("share")
    assert re.findall(r"accessMode: '(\w+)'", share) == ["ReadOnly", "ReadOnly"]
    name = bicep("infra/models-share.bicep").literal("share", "name")
    assert f"storageName: '{name}'" in BICEP.block("modelsVolumes")


def test_keys_that_are_trusted_lie_where_the_setting_looks() -> None:
    (path,) = BICEP.environment("trustVariables").values()
    (mount,) = re.findall(r"mountPath: '(.+)'", BICEP.block("trustMounts"))
    (file,) = re.findall(r"path: '(.+)'", BICEP.block("trustVolumes"))
    assert path == f"'{mount}/{file}'"
    (secret,) = re.findall(r"secretRef: '(.+)'", BICEP.block("trustVolumes"))
    assert f"name: '{secret}'" in BICEP.block("trustSecrets")


def test_a_subscription_takes_the_queues_place_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BICEP.default("topic") == ""
    for name, value in values(source="shots/subscriptions/vision").items():
        monkeypatch.setenv(name, value)
    assert load_settings().queue == ("shots/subscriptions/vision", "bulk")
    assert BICEP.variable("source") == "empty(topic) ? queue : '${topic}/subscriptions/${subscription}"
    queue, subscription = BUS.resource("pictures"), BUS.resource("pictureSubscription")
    for setting in ("requiresSession", "lockDuration", "maxDeliveryCount", "deadLetteringOnMessageExpiration"):
        (of_queue,), (of_it,) = (re.findall(rf"{setting}: (.+)", text) for text in (queue, subscription))
        assert of_queue == of_it
    counted = BICEP.block("counted")
    assert re.findall(r"(\w+): (\w+)", counted) == [
        ("queueName", "queue"),
        ("topicName", "topic"),
        ("subscriptionName", "subscription"),
    ]
    for name in ("pictures", "workerReceives", "scalerCounts"):
        assert "if (empty(topic))" in ROLES.resource(name), name
    for name in ("pictureTopic", "pictureSubscription", "workerSubscribes", "scalerCountsSubscription"):
        assert "if (!empty(topic))" in ROLES.resource(name), name
    for name in ("pictureTopic", "pictureSubscription"):
        assert "if (!empty(topic))" in BUS.resource(name), name
    assert "if (empty(topic))" in queue


def test_a_second_queue_is_made_received_and_counted() -> None:
    assert BICEP.default("bulkQueue") == ""
    first, second = BUS.resource("pictures"), BUS.resource("bulkPictures")
    for setting in ("lockDuration", "maxDeliveryCount", "deadLetteringOnMessageExpiration", "defaultMessageTimeToLive"):
        (of_first,), (of_second,) = (re.findall(rf"{setting}: (.+)", text) for text in (first, second))
        assert of_first == of_second
    for name in ("bulkPictures", "workerReceivesBulk", "scalerCountsBulk"):
        assert "if (!empty(bulkQueue))" in ROLES.resource(name), name
    first, second = BICEP.block("queueRules"), BICEP.block("bulkRules")
    assert "queueName: bulkQueue" in second
    for setting in ("messageCount: .+", "activationMessageCount: .+", "namespace: .+", "cloud: .+", "type: 'azure-.+"):
        assert re.findall(setting, second) == re.findall(setting, first) != []
    assert "rules: concat(bulkRules, queueRules, [" in BICEP.resource("app")


def test_every_variable_is_one_that_some_way_of_asking_gets() -> None:
    always = (*EVERYWHERE, *WORKER, *SINKS, *MODELS)
    named = {name for groups in CALLERS.values() for name in BICEP.environment(*always, *groups)}
    assert named == set(BICEP.environment())
    (listed,) = re.findall(r"env: concat\((.*?)\)", BICEP.resource("app"), re.DOTALL)
    groups = set(always).union(*CALLERS.values())
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
    assert all(int(size["startupSeconds"]) <= 10 * 240 for size in BICEP.sizes().values())


def test_a_start_may_take_as_long_as_is_said() -> None:
    """A start probe may fail ten times, so its period is a tenth of the time, and at most 240 s."""
    app = BICEP.resource("app")
    assert "periodSeconds: (startupAllowed + 9) / 10\n" in app
    (failures,) = re.findall(r"path: '/startupz'.*?failureThreshold: (\d+)", app, re.DOTALL)
    assert int(failures) == 10
    (most,) = re.findall(r"@maxValue\((\d+)\)\nparam startupSeconds", BICEP.text)
    assert int(most) == 10 * 240
    usual = "outside ? max(300, size.startupSeconds) : size.startupSeconds"
    assert BICEP.variable("startupAllowed") == f"startupSeconds > 0 ? startupSeconds : ({usual})"


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
    activation = re.findall(r"activationMessageCount: '(\d+)'", BICEP.block("queueRules"))
    assert activation == [trigger["metadata"]["activationMessageCount"]]


def test_the_reason_for_the_message_count_is_the_same_in_both() -> None:
    comment = re.findall(r"^ +# (.+)$", (KUBERNETES / "components/keda/scaledobject.yaml").read_text(), re.MULTILINE)
    (described,) = re.findall(r"@description\('''(Messages per replica.*?)'''\)", BICEP.text, re.DOTALL)
    assert " ".join(described.split()) in " ".join(comment)


def test_queues_have_the_same_names_everywhere() -> None:
    azure = yaml.safe_load((KUBERNETES / "overlays/cpu/azure.yaml").read_text())["data"]
    assert BICEP.default("queue") == azure["queue"]
    assert BICEP.default("resultsQueue") == azure["resultsQueue"]
    rules = BICEP.block("queueRules")
    assert "metadata: union(counted, {" in rules
    assert "queueName: queue" in BICEP.block("counted")
    assert "namespace: serviceBusName" in rules


def test_the_queues_do_what_the_service_relies_on() -> None:
    pictures, results = BUS.resource("pictures"), BUS.resource("results")
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
    assert lifecycles == {"workerIdentity": "Main", "scalerIdentity": "None"}
    passed = dict(re.findall(r"(\w+): (\w+Identity)\.properties\.principalId", BICEP.text))
    assert passed == {"worker": "workerIdentity", "scaler": "scalerIdentity"}
    for rules in ("queueRules", "bulkRules", "keySecrets"):
        assert "identity: scalerIdentity.id" in BICEP.block(rules)


def test_there_are_no_keys() -> None:
    assert "disableLocalAuth: true" in BUS.resource("namespace")
    assert "adminUserEnabled: false" in BICEP.text
    assert not re.search(r"listKeys\(\)(?!\.primarySharedKey)|connectionString|@secure", BICEP.text)


def test_another_clouds_names_are_used_there() -> None:
    clouds = json.loads((ROOT / "infra/clouds.json").read_text())
    # https://keda.sh/docs/latest/scalers/azure-service-bus/ has these names of clouds, and `Private`.
    assert {names["keda"] for names in clouds.values()} == {
        "AzurePublicCloud",
        "AzureUSGovernmentCloud",
        "AzureChinaCloud",
    }
    assert values()["ROO_SERVICEBUS_NAMESPACE"].endswith(clouds["AzureCloud"]["bus"])
    for text in (path.read_text() for path in (ROOT / "containerapp.bicep", *ROOT.glob("infra/*.bicep"))):
        code = re.sub(r"^\s*//.*|^@description.*", "", text, flags=re.MULTILINE)
        assert not re.search(r"(core|vault|database)\.(windows|azure)\.net|azurecr\.io", code)


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
    (url,) = re.findall(r"keyVaultUrl: '(.*)'", BICEP.block("keySecrets"))
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


def test_what_is_private_has_no_way_in_from_the_internet() -> None:
    """And is still reached from its network: external ingress, in an environment that is internal."""
    environment = BICEP.resource("newEnvironment")
    assert "internal: publicNetworkAccess == 'Disabled' || !externalIngress\n" in environment
    private = (ROOT / "docs/deployment.md").read_text().partition("## Private")[2].partition("\n## ")[0]
    (command,) = re.findall(r"publicNetworkAccess=Disabled (?:.*\\\n)*.*", private)
    assert "externalIngress=true" in command


def test_a_premium_registry_is_copied_to_the_regions_that_are_named() -> None:
    """Under one name, so that each region pulls from its own; Standard has no copies, and none are asked for then."""
    chosen = BICEP.variable("copiedTo")
    assert chosen == "createRegistry && registrySku == 'Premium' ? registryRegions : []"
    (copies,) = (body for name, _, body in BICEP.resources() if name == "registryCopies")
    assert "for region in copiedTo: {" in copies
    assert re.findall(r"^    (parent|name|location): (\w+)$", copies, re.MULTILINE) == [
        ("parent", "newRegistry"),
        ("name", "region"),
        ("location", "region"),
    ]
    assert "regionEndpointEnabled: true" in copies
