"""The manifests, as kustomize renders them, fit each other, the settings and the restricted pod security standard."""

import copy
import itertools
import re
import shutil
import tomllib
from collections.abc import Callable
from fnmatch import fnmatch
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings, load_settings
from tests.commands.test_cli import roo
from tests.deploy import manifests
from tests.deploy.manifests import (
    CUSTOM,
    SPOT,
    Document,
    environment,
    of_kind,
    problems,
    public_paths,
    render,
    service_container,
)
from tests.deploy.places import DOCKERFILES, KUBERNETES, ROOT, final_stage, image_environment
from tests.deploy.prometheus import promtool
from tests.fixtures.server import Server

OVERLAYS = sorted(path.parent.name for path in KUBERNETES.glob("overlays/*/kustomization.yaml"))


@pytest.fixture(scope="module")
def overlays() -> dict[str, list[Document]]:
    """Every overlay, rendered once."""
    return {name: render(KUBERNETES / "overlays" / name) for name in OVERLAYS}


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Document]]:
    """Renders an overlay made of the CPU overlay's names and the components that are asked for, and ConfigMaps of a
    file each.
    """
    copied = shutil.copytree(KUBERNETES, tmp_path_factory.mktemp("k8s") / "k8s")
    return lambda *components, **files: render(manifests.compose(copied, components, files=files))


def test_there_is_an_overlay_for_every_place() -> None:
    assert {"cpu", "gpu", "local"} <= set(OVERLAYS)


def test_results_are_kept_elsewhere_where_that_is_asked_for(
    compose: Callable[..., list[Document]], monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = compose("azure", "keda", "webhook", "cosmos")
    (settings,) = [each for each in of_kind(documents, "ConfigMap") if each["metadata"]["name"].startswith("settings-")]
    for name, value in settings["data"].items():
        monkeypatch.setenv(name, value)
    known = load_settings()
    assert known.has_sinks
    assert (known.cosmos_endpoint, known.cosmos_key) == ("https://example-cosmos.documents.azure.com", None)
    (secrets,) = of_kind(documents, "SecretProviderClass")
    mounted = re.findall(r"objectAlias: (\S+)", secrets["spec"]["parameters"]["objects"])
    assert mounted == ["api-keys", "webhook"]
    assert str(known.webhook_secret_file) == "/mnt/secrets/webhook"


@pytest.mark.parametrize("name", OVERLAYS)
def test_nothing_is_wrong_with_an_overlay(overlays: dict[str, list[Document]], name: str) -> None:
    beside = overlays["cpu"] if name == "canary" else []
    assert problems([*beside, *overlays[name]]) == []


@pytest.mark.parametrize(
    "components",
    [
        ("azure", "hpa"),
        ("azure", "keda", "keep-one"),
        ("azure", "entra", "keda"),
        ("azure", "keda", "subscription"),
        ("azure", "keda", "bulk-queue", "keep-one"),
        ("azure", "keda", "monitoring", "gpu"),
        ("azure", "gateway", "entra", "keda", "keep-one"),
        ("azure", "gateway", "keda", "monitoring-azure"),
        ("azure", "gateway", "private", "keda", "collector"),
        ("azure", "ingress-nginx", "keda", "keep-one"),
        ("azure", "keda", "models-pull", "gpu"),
        ("azure", "keda", "models-image"),
        ("azure", "keda", "http", "bulk-queue"),
        ("azure", "gateway", "keda", "monitoring-azure", "http-azure"),
        ("azure", "keda", "spot"),
        ("azure", "keda", "cosmos", "webhook"),
        ("azure", "gateway", "private", "keda", "cosmos"),
        ("azure", "keda", "gpu", "gpu-dra", "spot"),
        ("azure", "gateway", "keda", "verify-images"),
    ],
    ids="-".join,
)
def test_components_fit_together_in_other_ways_too(
    compose: Callable[..., list[Document]], components: tuple[str, ...]
) -> None:
    assert problems(compose(*components)) == []


def test_a_subscription_is_received_and_counted_in_the_queues_place(
    compose: Callable[..., list[Document]],
) -> None:
    documents = compose("azure", "keda", "keep-one", "subscription")
    assert environment(documents)["ROO_QUEUE"] == "shots/subscriptions/vision"
    (scaled,) = of_kind(documents, "ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    assert (trigger["metadata"]["topicName"], trigger["metadata"]["subscriptionName"]) == ("shots", "vision")
    assert "queueName" not in trigger["metadata"]


def test_a_second_queue_is_received_after_the_first_and_counted_too(compose: Callable[..., list[Document]]) -> None:
    documents = compose("azure", "keda", "bulk-queue")
    settings = environment(documents)
    assert (settings["ROO_QUEUE"], settings["ROO_QUEUE_SHARE"]) == ("pictures,bulk", "bulk=0.1")
    (scaled,) = of_kind(documents, "ScaledObject")
    first, second = (trigger["metadata"] for trigger in scaled["spec"]["triggers"])
    assert (first["queueName"], second["queueName"]) == ("pictures", "bulk")
    assert {**first, "queueName": ""} == {**second, "queueName": ""}


def _models_mount(documents: list[Document]) -> tuple[Document, Document]:
    """What the service has at its repository: the mount and its volume."""
    (deployment,) = of_kind(documents, "Deployment", "roo-vision")
    (mount,) = [each for each in service_container(documents)["volumeMounts"] if each["name"] == "models"]
    (volume,) = [each for each in deployment["spec"]["template"]["spec"]["volumes"] if each["name"] == "models"]
    assert mount["mountPath"] == image_environment("Dockerfile")["ROO_MODELS_DIR"]
    return mount, volume


def test_models_are_pulled_before_the_service_starts(compose: Callable[..., list[Document]], tmp_path: Path) -> None:
    documents = compose("azure", "keda", "models-pull")
    mount, volume = _models_mount(documents)
    assert mount["readOnly"] is True
    assert "emptyDir" in volume
    (deployment,) = of_kind(documents, "Deployment", "roo-vision")
    (init,) = deployment["spec"]["template"]["spec"]["initContainers"]
    assert init["image"] == service_container(documents)["image"]
    assert init["args"] == ["models", "pull", "azblob://examplemodels/models", "--into", mount["mountPath"]]
    assert {each["mountPath"] for each in init["volumeMounts"]} == {"/models", "/tmp", "/etc/roo-vision/keys"}
    # What it is told is understood, from another place.
    arguments = [str(ROOT / "models") if each.startswith("azblob") else each for each in init["args"][:-1]]
    done = roo(*arguments, tmp_path / "models")
    assert done.returncode == 0, done.stderr


def test_models_in_an_image_of_their_own(compose: Callable[..., list[Document]]) -> None:
    validate = _validator()
    documents = compose("azure", "keda", "models-image")
    mount, volume = _models_mount(documents)
    assert mount["readOnly"] is True
    assert volume["image"]["reference"] == "example.azurecr.io/roo-vision-models:2026-11-30"
    for made in (documents, compose("azure", "models-pull")):
        (deployment,) = of_kind(made, "Deployment", "roo-vision")
        validate.validate(deployment, "1.34", strict=True)


def test_shares_come_from_a_config_map_that_applying_leaves_alone(compose: Callable[..., list[Document]]) -> None:
    documents = compose("azure", "keda", "traffic")
    assert problems(documents) == []
    assert float(environment(documents)["ROO_REPOSITORY_POLL"]) > 0
    (mount,) = [each for each in service_container(documents)["volumeMounts"] if each["name"] == "traffic"]
    assert "subPath" not in mount
    assert f"ln -s {mount['mountPath']}/shelf.yaml" in (ROOT / "docs" / "upgrades.md").read_text()
    assert "traffic" not in {document["metadata"]["name"] for document in of_kind(documents, "ConfigMap")}


@pytest.mark.parametrize("models", ["models-pull", "models-image", "keep-one"])
def test_trusted_keys_are_there_for_all_that_ask_for_them(compose: Callable[..., list[Document]], models: str) -> None:
    documents = compose("azure", "keda", models, "trusted-keys", **{"trusted-keys": "trusted.pem=a public key"})
    assert problems(documents) == []
    (keys,) = [each for each in of_kind(documents, "ConfigMap") if each["metadata"]["name"].startswith("trusted-keys-")]
    asked = Path(environment(documents)["ROO_TRUSTED_KEYS"])
    assert asked.name in keys["data"]
    (deployment,) = of_kind(documents, "Deployment", "roo-vision")
    pod = deployment["spec"]["template"]["spec"]
    (volume,) = [each["configMap"] for each in pod["volumes"] if each["name"] == "trusted-keys"]
    assert volume == {"name": keys["metadata"]["name"], "optional": False}
    containers = [*pod["containers"], *pod.get("initContainers", [])]
    assert len(containers) == 1 + (models == "models-pull")
    for container in containers:
        (mount,) = [each for each in container["volumeMounts"] if each["name"] == "trusted-keys"]
        assert (mount["mountPath"], mount["readOnly"]) == (str(asked.parent), True)


def test_keeping_one_replica_is_a_component(compose: Callable[..., list[Document]]) -> None:
    (scaled,) = of_kind(compose("azure", "keda", "keep-one", "monitoring"), "ScaledObject")
    assert scaled["spec"]["minReplicaCount"] == 1


def test_people_call_replicas_too_and_one_stays_for_them(compose: Callable[..., list[Document]]) -> None:
    for component, kind in (("http", "cpu"), ("http-azure", "prometheus")):
        (scaled,) = of_kind(compose("azure", "keda", component), "ScaledObject")
        assert scaled["spec"]["minReplicaCount"] == 1
        queue, people = scaled["spec"]["triggers"]
        assert (queue["type"], people["type"]) == ("azure-servicebus", kind)
        assert scaled["spec"]["fallback"]["behavior"] == "currentReplicasIfHigher"


def test_managed_prometheus_is_asked_as_the_scalers_identity(compose: Callable[..., list[Document]]) -> None:
    documents = compose("azure", "keda", "monitoring-azure", "http-azure")
    (scaled,) = of_kind(documents, "ScaledObject")
    trigger = scaled["spec"]["triggers"][1]
    assert trigger["metadata"]["serverAddress"].endswith(".prometheus.monitor.azure.com")
    (authentication,) = of_kind(documents, "TriggerAuthentication", trigger["authenticationRef"]["name"])
    assert authentication["spec"]["podIdentity"]["provider"] == "azure-workload"
    (metric,) = re.findall(r"roo_\w+", trigger["metadata"]["query"])
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    assert dict(rows)[metric] == "gauge"


def test_the_query_of_people_is_half_a_second_a_replica(compose: Callable[..., list[Document]]) -> None:
    (scaled,) = of_kind(compose("azure", "keda", "http-azure"), "ScaledObject")
    metadata = scaled["spec"]["triggers"][1]["metadata"]
    series = 'roo_pending_seconds{namespace="%s", pod="%s"}'
    told = [(series % ("roo-vision", "a"), "0.4x10"), (series % ("roo-vision", "b"), "1.6x10")]
    told.append((series % ("elsewhere", "c"), "60x10"))
    test = {
        "interval": "30s",
        "input_series": [{"series": name, "values": values} for name, values in told],
        "promql_expr_test": [
            {"expr": metadata["query"], "eval_time": "3m", "exp_samples": [{"labels": "{}", "value": 2}]}
        ],
    }
    assert "SUCCESS" in promtool("test", "rules", "/dev/stdin", given=yaml.safe_dump({"tests": [test]}))
    assert 2 / float(metadata["threshold"]) == 4


def test_on_spot_nodes_a_pod_is_gone_before_its_node_is(
    overlays: dict[str, list[Document]], compose: Callable[..., list[Document]]
) -> None:
    documents = compose("azure", "keda", "spot")
    pod = of_kind(documents, "Deployment")[0]["spec"]["template"]["spec"]
    assert SPOT in pod["tolerations"]
    (preferred,) = pod["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    (rule,) = preferred["preference"]["matchExpressions"]
    assert (rule["key"], rule["values"]) == (SPOT["key"], [SPOT["value"]])
    assert "lifecycle" not in service_container(documents)
    # As many at once as fit on a node.
    (budget,) = of_kind(documents, "PodDisruptionBudget")
    cores = int(re.findall(r"--node-vm-size Standard_D(\d+)as_v6", (KUBERNETES / "README.md").read_text())[0])
    assert budget["spec"]["maxUnavailable"] == _to_be_had(cores) // _asked(overlays["cpu"])


@pytest.mark.parametrize("components", [("gpu", "spot"), ("spot", "gpu")], ids="-".join)
def test_gpus_on_spot_nodes_have_both_taints(
    compose: Callable[..., list[Document]], components: tuple[str, ...]
) -> None:
    (deployment,) = of_kind(compose("azure", "keda", *components), "Deployment")
    tolerated = {(each["key"], each["value"]) for each in deployment["spec"]["template"]["spec"]["tolerations"]}
    text = (KUBERNETES / "README.md").read_text()
    (taint,) = re.findall(r"--node-taints (\S+)=(\S+):NoSchedule", text)
    assert tolerated == {taint, (SPOT["key"], SPOT["value"])}
    assert "--priority Spot" in text


def test_a_claim_stands_in_place_of_a_number_of_gpus(compose: Callable[..., list[Document]]) -> None:
    documents = compose("azure", "keda", "gpu", "gpu-dra")
    resources = service_container(documents)["resources"]
    assert not [name for part in ("requests", "limits") for name in resources[part] if "/" in name]
    (template,) = of_kind(documents, "ResourceClaimTemplate")
    (request,) = template["spec"]["spec"]["devices"]["requests"]
    assert request["exactly"]["deviceClassName"] == "gpu.nvidia.com"
    (deployment,) = of_kind(documents, "Deployment")
    for document in (template, deployment):
        _validator().validate(document, "1.37", strict=True)


def test_only_what_the_workflow_signed_is_let_in(compose: Callable[..., list[Document]]) -> None:
    documents = compose("azure", "gateway", "keda", "verify-images")
    (policy,) = of_kind(documents, "ClusterImagePolicy")
    (identity,) = policy["spec"]["authorities"][0]["keyless"]["identities"]
    pattern = re.compile(identity["subjectRegExp"])
    workflow = "https://github.com/OWNER/REPOSITORY/.github/workflows/images.yml@refs/"
    assert all(pattern.fullmatch(workflow + ref) for ref in ("heads/main", "tags/v0.1.0"))
    assert not any(pattern.search(workflow + ref) for ref in ("heads/other", "heads/main2", "pull/1/merge"))
    assert not pattern.search(workflow.replace("OWNER", "OTHER") + "heads/main")
    # The same as the documented command asks for.
    assert f"'{identity['subjectRegExp']}'" in (ROOT / "docs" / "deployment.md").read_text()
    glob = policy["spec"]["images"][0]["glob"]
    assert fnmatch(service_container(documents)["image"], glob)
    names = {space["metadata"]["name"]: space["metadata"]["labels"] for space in of_kind(documents, "Namespace")}
    assert names["roo-vision"]["policy.sigstore.dev/include"] == "true"
    assert "policy.sigstore.dev/include" not in names["roo-vision-gateway"]


def _validator() -> Any:
    """Kubernetes' schemas, where they are installed; in CI they must be."""
    return pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed: schemas were NOT checked"
    )


def test_a_canary_touches_nothing_of_what_runs(overlays: dict[str, list[Document]]) -> None:
    def named(documents: list[Document]) -> set[tuple[str, str]]:
        return {(document["kind"], document["metadata"]["name"]) for document in documents}

    running, canary = overlays["cpu"], overlays["canary"]
    assert named(running) & named(canary) == set()
    (before,), (beside,) = (copy.deepcopy(of_kind(documents, "Deployment")) for documents in (running, canary))
    (service,), (other,) = (of_kind(documents, "Service") for documents in (running, canary))
    selectors = service["spec"]["selector"], before["spec"]["selector"]["matchLabels"], other["spec"]["selector"]
    for selector, pod in zip(selectors, (beside, beside, before), strict=True):
        assert not selector.items() <= pod["spec"]["template"]["metadata"]["labels"].items()
    assert beside["spec"]["replicas"] == 1
    pods = [deployment["spec"]["template"]["spec"] for deployment in (before, beside)]
    for pod in pods:
        pod["containers"][0].pop("image")
        pod["containers"][0].pop("envFrom")
        pod.pop("topologySpreadConstraints")
    assert pods[0] == pods[1]
    assert not of_kind(canary, "HTTPRoute")


def test_the_component_canary_gives_a_share_to_the_canarys_service(
    overlays: dict[str, list[Document]], compose: Callable[..., list[Document]]
) -> None:
    documents = compose("azure", "gateway", "keda", "canary")
    (route,) = of_kind(documents, "HTTPRoute")
    (rule,) = route["spec"]["rules"]
    shares = {backend["name"]: (backend["weight"], backend["port"]) for backend in rule["backendRefs"]}
    assert shares == {"roo-vision": (90, 80), "roo-vision-canary": (10, 80)}
    assert problems(documents) == ["Service/roo-vision-canary is named, but is not there"]
    assert problems([*documents, *overlays["canary"]]) == []
    (service,) = of_kind(overlays["canary"], "Service")
    assert service["spec"]["ports"][0]["port"] == 80


def test_tokens_come_beside_keys_and_the_readmes_patch_takes_the_keys_out(
    compose: Callable[..., list[Document]], tmp_path: Path
) -> None:
    settings = environment(compose("azure", "entra"))
    assert settings["ROO_AUTH"] == "keys+entra"
    names = yaml.safe_load((KUBERNETES / "overlays/cpu/azure.yaml").read_text())["data"]
    assert settings["ROO_ENTRA_TENANT"] == names["tenantId"]
    assert settings["ROO_ENTRA_AUDIENCE"] == names["audience"]
    copied = shutil.copytree(KUBERNETES, tmp_path / "k8s")
    overlay = yaml.safe_load((copied / "overlays/cpu/kustomization.yaml").read_text())
    overlay["components"].insert(1, "../../components/entra")
    readme = (copied / "README.md").read_text()
    (patch,) = re.findall(r"```yaml\n(- target: \{kind: ConfigMap, .*?)```", readme, re.DOTALL)
    overlay["patches"] = yaml.safe_load(patch)
    (copied / "overlays/cpu/kustomization.yaml").write_text(yaml.safe_dump(overlay))
    documents = render(copied / "overlays/cpu")
    assert environment(documents)["ROO_AUTH"] == "entra"
    assert problems(documents) == []


def _opened(policy: Document) -> set[tuple[str, str, str]]:
    """Each port that a policy opens, as (policy, direction, port)."""
    found = set()
    for direction, rules in (("in", policy["spec"].get("ingress", [])), ("out", policy["spec"].get("egress", []))):
        for rule in rules:
            assert rule.get("from" if direction == "in" else "to"), "a rule without peers is open to everybody"
            found |= {(policy["metadata"]["name"], direction, str(port["port"])) for port in rule["ports"]}
    return found


def test_the_table_of_the_readme_says_why_for_each_port_that_is_open() -> None:
    opened: set[tuple[str, str, str]] = set()
    for path in itertools.chain(*map(KUBERNETES.glob, ("base/*.yaml", "components/*/*.yaml", "overlays/*/*.yaml"))):
        documents = [each for each in yaml.safe_load_all(path.read_text()) if isinstance(each, dict)]
        for policy in of_kind([each for each in documents if "kind" in each], "NetworkPolicy"):
            opened |= _opened(policy)
    rows = re.findall(
        r"^\| `([\w-]+)` \| (in|out) \| [^|]+ \| ([^|]+) \| [^|]+ \|$",
        (KUBERNETES / "README.md").read_text(),
        re.MULTILINE,
    )
    assert {(name, way, port) for name, way, ports in rows for port in ports.split(", ")} == opened


def _peer(peer: Document) -> str:
    """Who a rule lets through, as the README writes it."""
    if "ipBlock" in peer:
        kept_from = "".join(f" but {cidr}" for cidr in peer["ipBlock"].get("except", []))
        return str(peer["ipBlock"]["cidr"]) + kept_from
    parts = [
        f"{name.rpartition('/')[2]}={value}"
        for selector in ("namespaceSelector", "podSelector")
        for name, value in peer.get(selector, {}).get("matchLabels", {}).items()
    ]
    return " ".join(parts) or "this namespace"


def test_in_the_private_overlay_each_line_of_the_policies_has_its_row_and_reason(
    overlays: dict[str, list[Document]],
) -> None:
    let_through = {
        (policy["metadata"]["name"], way, _peer(peer), f"{port['protocol']} {port['port']}")
        for policy in of_kind(overlays["azure-private"], "NetworkPolicy")
        for way, rules, side in (("in", "ingress", "from"), ("out", "egress", "to"))
        for rule in policy["spec"].get(rules, [])
        for peer in rule[side]
        for port in rule["ports"]
    }
    section = (KUBERNETES / "README.md").read_text().partition("### Without a way out")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| `([\w-]+)` (in|out) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", section, re.MULTILINE)
    told = {
        (name, way, peer.strip("`"), port)
        for name, way, peers, ports, why in rows
        for peer in peers.split(", ")
        for port in ports.split(", ")
        if len(why) > 10
    }
    assert told == let_through


def test_names_are_resolved_where_aks_has_its_local_dns(overlays: dict[str, list[Document]]) -> None:
    (policy,) = of_kind(overlays["cpu"], "NetworkPolicy", "roo-vision")
    (rule,) = policy["spec"]["egress"]
    blocks = {peer["ipBlock"]["cidr"] for peer in rule["to"] if "ipBlock" in peer}
    assert blocks == {"169.254.10.10/32", "169.254.10.11/32"}
    assert {(port["protocol"], port["port"]) for port in rule["ports"]} == {("UDP", 53), ("TCP", 53)}


def test_the_nodes_metadata_is_never_reached(
    overlays: dict[str, list[Document]], compose: Callable[..., list[Document]]
) -> None:
    """From there a pod would get tokens of the node's identities."""
    for documents in (overlays["cpu"], overlays["azure-private"], compose("azure", "collector", "keda")):
        for policy in of_kind(documents, "NetworkPolicy"):
            blocks = [
                peer["ipBlock"] for rule in policy["spec"].get("egress", []) for peer in rule["to"] if "ipBlock" in peer
            ]
            for block in blocks:
                reached = ip_network(block["cidr"])
                kept_from = [ip_network(cidr) for cidr in block.get("except", [])]
                for address in map(ip_address, ("169.254.169.254", "168.63.129.16")):
                    assert address not in reached or any(address in cidr for cidr in kept_from), block


def test_private_means_private(overlays: dict[str, list[Document]]) -> None:
    documents = overlays["azure-private"]
    (policy,) = of_kind(documents, "NetworkPolicy", "roo-vision-azure")
    endpoints, entra = policy["spec"]["egress"]
    assert endpoints["to"] == [{"ipBlock": {"cidr": "10.42.8.0/24"}}]
    assert {port["port"] for port in endpoints["ports"]} == {443, 5671}
    assert {port["port"] for port in entra["ports"]} == {443}
    # Microsoft's, and no more than that: 49,152 addresses of four ranges.
    assert sum(ip_network(peer["ipBlock"]["cidr"]).num_addresses for peer in entra["to"]) == 2 * 2**14 + 2 * 2**13
    (gateway,) = of_kind(documents, "Gateway")
    assert gateway["spec"]["infrastructure"]["annotations"] == {
        "service.beta.kubernetes.io/azure-load-balancer-internal": "true"
    }
    network = (ROOT / "infra" / "network.bicep").read_text()
    (space,) = re.findall(r"param addresses string = '(.+)'", network)
    assert endpoints["to"][0]["ipBlock"]["cidr"] == str(list(ip_network(space).subnets(new_prefix=24))[8])


def _to_be_had(cores: int) -> int:
    """Millicores of a node: AKS keeps 180 of eight cores for itself; its daemons ask for about as much again."""
    return cores * 1000 - 180 - 200


def _asked(documents: list[Document]) -> int:
    """Millicores that a pod asks for."""
    return int(service_container(documents)["resources"]["requests"]["cpu"].removesuffix("m"))


def test_fifty_pods_fit_on_the_nodes_of_the_readme(overlays: dict[str, list[Document]]) -> None:
    text = (KUBERNETES / "README.md").read_text()
    pools = re.findall(r"--node-vm-size Standard_D(\d+)as_v6 .*?--max-count (\d+)", text, re.DOTALL)
    (scaled,) = of_kind(overlays["cpu"], "ScaledObject")
    for cores, most in pools:
        there = _to_be_had(int(cores)) // _asked(overlays["cpu"]) * int(most)
        assert there >= scaled["spec"]["maxReplicaCount"]
    assert len(pools) == 2


def test_where_the_depth_cannot_be_read_none_that_runs_is_taken_away(overlays: dict[str, list[Document]]) -> None:
    (scaled,) = of_kind(overlays["cpu"], "ScaledObject")
    assert scaled["spec"]["fallback"] == {"failureThreshold": 3, "replicas": 1, "behavior": "currentReplicasIfHigher"}


def test_every_file_of_a_folder_is_used() -> None:
    for kustomization in KUBERNETES.rglob("kustomization.yaml"):
        text = kustomization.read_text()
        unused = [path.name for path in kustomization.parent.iterdir() if path.is_file() and path.name not in text]
        assert set(unused) <= {"kustomization.yaml"}, kustomization


def test_the_schemas_of_kubernetes_agree(overlays: dict[str, list[Document]]) -> None:
    validate = _validator()
    checked = 0
    for documents in overlays.values():
        for document in documents:
            if document["kind"] not in CUSTOM:
                validate.validate(document, "1.37", strict=True)
                checked += 1
    assert checked >= 20


def test_pods_run_the_images_that_are_built_here_as_their_user(overlays: dict[str, list[Document]]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    alone = {name: documents for name, documents in overlays.items() if name != "canary"}
    images = {name: service_container(documents)["image"].rpartition("/")[2] for name, documents in alone.items()}
    assert images == {
        "azure-private": f"roo-vision:v{version}",
        "cpu": f"roo-vision:v{version}",
        "gpu": f"roo-vision:v{version}-cuda",
        "local": "roo-vision:cpu",
    }
    users = {rest for file in DOCKERFILES for name, rest in final_stage(file) if name == "USER"}
    for document in (document for documents in overlays.values() for document in of_kind(documents, "Deployment")):
        security = document["spec"]["template"]["spec"]["securityContext"]
        assert users == {f"{security['runAsUser']}:{security['runAsGroup']}"}


def test_messages_that_call_a_gpu_follow_from_the_cores_that_decode() -> None:
    """As on Container Apps: what two cores are planned to do, times the pairs of cores beside a GPU."""

    def called_by(overlay: str) -> tuple[int, int]:
        documents = render(KUBERNETES / "overlays" / overlay)
        (scaled,) = (each for each in documents if each["kind"] == "ScaledObject")
        (deployed,) = (each for each in documents if each["kind"] == "Deployment")
        cores = int(deployed["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
        return int(scaled["spec"]["triggers"][0]["metadata"]["messageCount"]), cores

    (messages, cores), (with_gpu, its_cores) = called_by("cpu"), called_by("gpu")
    assert with_gpu * cores == messages * its_cores


def test_a_pod_with_a_gpu_says_so_everywhere(overlays: dict[str, list[Document]]) -> None:
    documents = overlays["gpu"]
    (deployment,) = of_kind(documents, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    container = service_container(documents)
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["image"].endswith("-cuda")
    assert {"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"} in pod["tolerations"]
    assert pod["nodeSelector"] == {"kubernetes.azure.com/accelerator": "nvidia"}
    assert environment(documents)["ROO_DEVICE"] == "cuda"
    # No pod waits for a GPU that the one it replaces still has.
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}


def test_pods_have_an_identity_and_files_for_secrets(overlays: dict[str, list[Document]]) -> None:
    documents = overlays["cpu"]
    (deployment,) = of_kind(documents, "Deployment")
    (account,) = of_kind(documents, "ServiceAccount", "roo-vision")
    (authentication,) = of_kind(documents, "TriggerAuthentication")
    assert deployment["spec"]["template"]["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    worker = account["metadata"]["annotations"]["azure.workload.identity/client-id"]
    assert authentication["spec"]["podIdentity"]["identityId"] != worker
    assert not of_kind(documents, "Secret")


def test_the_nginx_ingress_lets_through_what_the_service_takes(compose: Callable[..., list[Document]]) -> None:
    (ingress,) = of_kind(compose("azure", "ingress-nginx", "keda"), "Ingress")
    annotations = ingress["metadata"]["annotations"]
    settings = Settings()
    assert annotations["nginx.ingress.kubernetes.io/proxy-body-size"] == f"{settings.max_body_bytes // 2**20}m"
    assert int(annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"]) > settings.request_timeout


def test_the_gateway_waits_longer_than_the_service_does(overlays: dict[str, list[Document]]) -> None:
    (route,) = of_kind(overlays["cpu"], "HTTPRoute")
    for rule in route["spec"]["rules"]:
        assert float(rule["timeouts"]["request"].removesuffix("s")) > Settings().request_timeout


@pytest.mark.parametrize("way_in", ["gateway", "ingress-nginx"])
def test_from_outside_the_api_and_its_page_are_reached_and_nothing_else(
    compose: Callable[..., list[Document]], server: Server, way_in: str
) -> None:
    paths = public_paths(compose("azure", way_in, "keda"))
    served = _paths(server)
    assert sorted(paths) == ["/docs", "/openapi.json", "/v1"]
    for path in paths:
        assert any(known.startswith(path) for known in served), path
    with server.client() as client:
        page = client.get("/docs").text
    named = re.findall(r"""(?:src|href)=["']([^"'#:]+)["']""", page)
    assert all(any(f"/{name.lstrip('./')}".startswith(path) for path in paths) for name in named), named


def test_the_gateways_proxies_run_where_pod_security_lets_them(overlays: dict[str, list[Document]]) -> None:
    """Istio's gateway pods have no seccomp profile, which `restricted` demands and `baseline` does not."""
    (gateway,) = of_kind(overlays["cpu"], "Gateway")
    (namespace,) = of_kind(overlays["cpu"], "Namespace", gateway["metadata"]["namespace"])
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "baseline"
    (own,) = of_kind(overlays["cpu"], "Namespace", "roo-vision")
    assert own["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    (policy,) = of_kind(overlays["cpu"], "NetworkPolicy", "roo-vision-gateway")
    (peer,) = policy["spec"]["ingress"][0]["from"]
    name = {"kubernetes.io/metadata.name": gateway["metadata"]["namespace"]}
    assert peer["namespaceSelector"]["matchLabels"] == name
    proxies = {"gateway.networking.k8s.io/gateway-name": gateway["metadata"]["name"]}
    assert peer["podSelector"]["matchLabels"] == proxies


def _paths(server: Server) -> set[str]:
    with server.client() as client:
        return {*client.get("/openapi.json").json()["paths"], "/docs", "/openapi.json"}


def test_probes_ask_what_is_served(server: Server, overlays: dict[str, list[Document]]) -> None:
    container = service_container(overlays["local"])
    with server.client() as client:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert client.get(container[probe]["httpGet"]["path"]).status_code == 200


def test_devbus_understands_how_it_is_started(overlays: dict[str, list[Document]]) -> None:
    from app.devbus.options import QueueOptions

    (deployment,) = of_kind(overlays["local"], "Deployment", "devbus")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    queues = {QueueOptions.parse(text).name for text in container["args"] if text != "--queue"}
    settings = environment(overlays["local"])
    assert queues == {settings["ROO_QUEUE"], settings["ROO_RESULTS_QUEUE"]}
    (service,) = of_kind(overlays["local"], "Service", "devbus")
    assert "sb://devbus:5672" in settings["ROO_SERVICEBUS_CONNECTION_STRING"]
    assert {port["port"] for port in service["spec"]["ports"]} >= {5672}


def test_kserves_runtime_asks_for_what_is_there(server: Server) -> None:
    documents = render(KUBERNETES / "components" / "kserve")
    (runtime,), (example,) = of_kind(documents, "ClusterServingRuntime"), of_kind(documents, "InferenceService")
    assert "namespace" not in runtime["metadata"]
    (container,) = runtime["spec"]["containers"]
    assert container["name"] == "kserve-container"  # KServe looks for it by that name
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert {name.removeprefix("ROO_").lower() for name in variables} <= Settings.model_fields.keys()
    with server.client() as client:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container[probe]["httpGet"]
            assert str(asked["port"]) == variables["ROO_PORT"]
            assert client.get(asked["path"]).status_code == 200
    model = example["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    assert model["modelFormat"]["name"] in {each["name"] for each in runtime["spec"]["supportedModelFormats"]}


def test_the_readme_names_what_is_there() -> None:
    text = (KUBERNETES / "README.md").read_text()
    for folder in (KUBERNETES / "components").iterdir():
        assert f"`{folder.name}`" in text
    for name in OVERLAYS:
        assert f"overlays/{name}" in text
    assert (ROOT / "docs" / "deployment.md").exists()


def _break(documents: list[Document], kind: str, *path: str | int, value: object) -> None:
    """Set what `path` leads to in the first document of the kind; None takes it away."""
    target = of_kind(documents, kind)[0]
    for step in path[:-1]:
        target = target[step]  # type: ignore[index]
    if value is None:
        del target[path[-1]]  # type: ignore[arg-type]
    else:
        target[path[-1]] = value  # type: ignore[index]


POD = ("spec", "template", "spec")
CONTAINER = (*POD, "containers", 0)
ROUTE = ("spec", "rules", 0)
LISTENER = ("spec", "listeners", 0)
TRIGGER = ("spec", "triggers", 0, "metadata")
CLAIM = {"name": "gpu", "resourceClaimTemplateName": "gpus"}
PINNED = "array: ['{objectName: roo-vision-api-keys, objectAlias: api-keys, objectType: secret, objectVersion: 4f0c}']"


@pytest.mark.parametrize(
    ("kind", "path", "value", "said"),
    [
        ("Deployment", (*POD, "securityContext", "runAsNonRoot"), False, "may run as root"),
        ("Deployment", (*POD, "enableServiceLinks"), None, "ROO_VISION_"),
        ("Deployment", (*POD, "automountServiceAccountToken"), True, "token for the API server"),
        ("Deployment", (*POD, "terminationGracePeriodSeconds"), 30, "leave nothing of the pod's 30 s"),
        ("Deployment", (*POD, "serviceAccountName"), "other", "ServiceAccount/other is named"),
        ("Deployment", (*CONTAINER, "securityContext", "readOnlyRootFilesystem"), False, "writable root"),
        ("Deployment", (*CONTAINER, "securityContext", "capabilities"), {}, "keeps capabilities"),
        ("Deployment", (*CONTAINER, "resources", "limits", "memory"), None, "no bound on its memory"),
        ("Deployment", (*CONTAINER, "image"), "roo-vision:latest", "without a version"),
        ("Deployment", (*CONTAINER, "livenessProbe", "httpGet", "path"), "/healthz", "liveness probe should ask"),
        ("Deployment", (*CONTAINER, "ports", 0, "containerPort"), 8080, "listens on 8000"),
        ("Deployment", ("spec", "replicas"), 3, "the scaler owns"),
        ("ConfigMap", ("data", "ROO_LANE"), "4", "Unknown setting ROO_LANE"),
        ("ConfigMap", ("data", "ROO_DRAIN_DELAY"), "50", "would not start"),
        ("ConfigMap", ("data", "ROO_QUEUE"), "other", "but works off other"),
        ("ConfigMap", ("data", "ROO_AUTH"), "none", "would not start"),
        ("ConfigMap", ("data", "ROO_AUTH"), "entra", "would not start"),
        ("ConfigMap", ("data", "ROO_API_KEYS_FILE"), None, "would not start"),
        ("ConfigMap", ("data", "ROO_API_KEYS_FILE"), "/mnt/keys", "nothing is mounted at /mnt"),
        ("ConfigMap", ("data", "ROO_API_KEYS_FILE"), "/mnt/secrets/keys", "makes ['api-keys'], not keys"),
        ("ConfigMap", ("data", "ROO_ENVIRONMENT"), None, "is not production"),
        ("Deployment", (*CONTAINER, "volumeMounts", 0, "mountPath"), "/secrets", "nothing is mounted at /mnt/secrets"),
        ("Deployment", (*CONTAINER, "volumeMounts", 0, "subPath"), "api-keys", "would not reach it"),
        ("SecretProviderClass", ("spec", "parameters", "objects"), PINNED, "it would not be rotated"),
        ("HTTPRoute", (*ROUTE, "matches", 0, "path", "value"), "/", "everybody is shown /metrics"),
        ("HTTPRoute", (*ROUTE, "matches"), None, "everybody is shown /metrics"),
        ("HTTPRoute", (*ROUTE, "backendRefs", 0, "name"), "roo", "Service/roo is named"),
        ("HTTPRoute", (*ROUTE, "backendRefs", 0, "weight"), 90, "shares are not per cent"),
        ("HTTPRoute", ("spec", "parentRefs", 0, "namespace"), None, "in another namespace than it is in"),
        ("HTTPRoute", ("spec", "parentRefs", 0, "sectionName"), "http", "has no listener http"),
        ("HTTPRoute", ("spec", "hostnames"), ["example.com"], "different hosts"),
        ("Gateway", (*LISTENER, "protocol"), "HTTP", "is not encrypted"),
        ("Gateway", (*LISTENER, "tls", "options"), {}, "which has no identity"),
        ("Gateway", (*LISTENER, "allowedRoutes", "namespaces"), {"from": "All"}, "other namespaces are let in"),
        ("Gateway", ("metadata", "namespace"), "roo-vision", "not in the namespace roo-vision-gateway"),
        ("ScaledObject", ("spec", "fallback", "behavior"), "static", "replicas that run are taken away"),
        ("ScaledObject", ("spec", "triggers", 0, "type"), "cpu", "never wakes it"),
        ("Deployment", (*POD, "tolerations"), [SPOT], "a spot node is gone"),
        ("Deployment", (*POD, "resourceClaims"), [CLAIM], "ResourceClaimTemplate/gpus is named"),
        ("Deployment", (*CONTAINER, "resources", "claims"), [{"name": "gpu"}], "which the pod does not make"),
        ("ScaledObject", (*TRIGGER, "messageCount"), 300, "messageCount is not a string"),
        ("ScaledObject", (*TRIGGER, "namespace"), "example-bus.servicebus.windows.net", "not the service's"),
        ("ScaledObject", ("spec", "scaleTargetRef", "name"), "roo", "Deployment/roo is named"),
        ("Service", ("spec", "selector"), {"app": "roo-vision"}, "selects no pod"),
        ("Service", ("spec", "ports", 0, "targetPort"), "web", "no pod has a port web"),
        ("NetworkPolicy", ("metadata", "namespace"), "default", "not in the namespace"),
        ("Gateway", (*LISTENER, "hostname"), "NAME", "was not filled in"),
    ],
    ids=lambda value: "-".join(map(str, value[-2:])) if isinstance(value, tuple) else None,
)
def test_a_planted_mistake_is_found(
    overlays: dict[str, list[Document]], kind: str, path: tuple[str | int, ...], value: object, said: str
) -> None:
    documents = copy.deepcopy(overlays["cpu"])
    _break(documents, kind, *path, value=value)
    assert any(said in problem for problem in problems(documents)), problems(documents)


def test_a_schema_mistake_is_found(overlays: dict[str, list[Document]]) -> None:
    validate = _validator()
    documents = copy.deepcopy(overlays["cpu"])
    _break(documents, "Deployment", *POD, "enableServiceLink", value=False)
    with pytest.raises(validate.ValidationError):
        validate.validate(of_kind(documents, "Deployment")[0], "1.37", strict=True)


def test_the_folder_holds_manifests_and_what_makes_the_chart_of_them() -> None:
    kinds = {path.suffix for path in KUBERNETES.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert kinds <= {".yaml", ".env", ".md", ".json", ".tpl", ".py"}
    assert {path.name for path in KUBERNETES.rglob("*.py")} == {"make_chart.py", "chart_values.py"}
