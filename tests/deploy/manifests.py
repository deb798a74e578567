"""Rendered manifests, and what is wrong with them: rules that no schema knows."""

import base64
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.errors import StartupError
from app.settings import load_settings
from tests.deploy.places import GRPC_PORT, PORT, PROBES

Document = dict[str, Any]

CUSTOM = {
    *("ScaledObject", "TriggerAuthentication", "SecretProviderClass"),
    *("PodMonitor", "PrometheusRule", "Gateway", "HTTPRoute"),
    *("ClusterServingRuntime", "InferenceService", "ClusterImagePolicy"),
}
"""Kinds that Kubernetes itself does not know; tests/deploy/test_schemas.py checks them."""
CLUSTER_WIDE = {"Namespace", "ClusterImagePolicy"}
SPOT = {"key": "kubernetes.azure.com/scalesetpriority", "operator": "Equal", "value": "spot", "effect": "NoSchedule"}
SPOT_NOTICE = 25
"""Seconds: Azure gives 30, and the drain needs some of them to begin."""
GATEWAY_NAMESPACE = "roo-vision-gateway"
"""Beside the service's: what Application Routing makes for a Gateway would be refused by its pod security."""


def render(folder: Path) -> list[Document]:
    """What kustomize makes of a folder; skips the test where there is no kustomize."""
    command = _kustomize()
    if command is None:
        pytest.skip("neither kubectl nor kustomize is installed: what kustomize makes was NOT checked")
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def compose(
    tree: Path, components: Sequence[str], names: dict[str, str] | None = None, files: dict[str, str] | None = None
) -> Path:
    """An overlay made of the CPU overlay's names, or others, and these components, in a copy of `k8s` at `tree`;
    `files` become ConfigMaps of a file each (`{"map": "file=content"}`).
    """
    overlay = tree / "overlays" / "-".join(components)
    shutil.copytree(tree / "overlays" / "cpu", overlay, dirs_exist_ok=True)
    kustomization = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    kustomization["components"] = [f"../../components/{name}" for name in components]
    kustomization["configMapGenerator"] = [
        {"name": name, "namespace": "roo-vision", "literals": [content]} for name, content in (files or {}).items()
    ]
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    azure = yaml.safe_load((overlay / "azure.yaml").read_text())
    azure["data"] |= names or {}
    (overlay / "azure.yaml").write_text(yaml.safe_dump(azure))
    return overlay


def _kustomize() -> list[str] | None:
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    return ["kustomize", "build"] if shutil.which("kustomize") else None


def of_kind(documents: list[Document], kind: str, name: str | None = None) -> list[Document]:
    """The documents of a kind, or the one of that name."""
    return [
        document
        for document in documents
        if document["kind"] == kind and (name is None or document["metadata"]["name"] == name)
    ]


def service_container(documents: list[Document]) -> Document:
    """The container of the service."""
    (deployment,) = of_kind(documents, "Deployment", "roo-vision")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(container)


def environment(documents: list[Document]) -> dict[str, str]:
    """Every variable that the service gets, from the ConfigMaps and Secrets that it names."""
    found: dict[str, str] = {}
    for source in service_container(documents).get("envFrom", []):
        kind, reference = next(iter(source.items()))
        kind = {"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind]
        (document,) = of_kind(documents, kind, reference["name"])
        found |= document.get("data", {}) if kind == "ConfigMap" else _decoded(document)
    return found


def _decoded(secret: Document) -> dict[str, str]:
    return {name: base64.b64decode(value).decode() for name, value in secret.get("data", {}).items()}


def problems(documents: list[Document]) -> list[str]:
    """Everything that is wrong, in words; empty where all is well."""
    rules: list[Callable[[list[Document]], Iterator[str]]] = [
        _namespaces,
        _placeholders,
        _references,
        _selectors,
        _pods,
        _probes,
        _stopping,
        _settings,
        _callers,
        _gateways,
        _scaling,
    ]
    return [problem for rule in rules for problem in rule(documents)]


def _namespaces(documents: list[Document]) -> Iterator[str]:
    for document in documents:
        of_gateway = document["kind"] == "Gateway" or _called(document) == "ServiceAccount/roo-vision-gateway"
        wanted = GATEWAY_NAMESPACE if of_gateway else "roo-vision"
        if document["kind"] not in CLUSTER_WIDE and document["metadata"].get("namespace") != wanted:
            yield f"{_called(document)} is not in the namespace {wanted}"


def _placeholders(documents: list[Document]) -> Iterator[str]:
    for document in documents:
        for path, value in _leaves(document):
            if value == "NAME" or str(value).startswith("NAME."):
                yield f"{_called(document)}: {path} was not filled in"


def _references(documents: list[Document]) -> Iterator[str]:
    """Names of other documents lead to one of them."""
    there = {(document["kind"], document["metadata"]["name"]) for document in documents}
    wanted: list[tuple[str, str]] = []
    for document in of_kind(documents, "Deployment"):
        spec = document["spec"]["template"]["spec"]
        wanted += [("ServiceAccount", spec["serviceAccountName"])] if "serviceAccountName" in spec else []
        wanted += [("ResourceClaimTemplate", claim["resourceClaimTemplateName"]) for claim in _claims(spec)]
        for volume in spec.get("volumes", []):
            if "csi" in volume:
                wanted.append(("SecretProviderClass", volume["csi"]["volumeAttributes"]["secretProviderClass"]))
        for container in _containers(spec):
            for source in container.get("envFrom", []):
                kind, reference = next(iter(source.items()))
                wanted.append(({"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind], reference["name"]))
            mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
            for missing in mounts - {volume["name"] for volume in spec.get("volumes", [])}:
                yield f"{_called(document)} mounts the volume {missing}, which is not there"
            claimed = {claim["name"] for claim in container.get("resources", {}).get("claims", [])}
            for missing in claimed - {claim["name"] for claim in _claims(spec)}:
                yield f"{_called(document)} uses the claim {missing}, which the pod does not make"
    for document in of_kind(documents, "ScaledObject") + of_kind(documents, "HorizontalPodAutoscaler"):
        wanted.append(("Deployment", document["spec"]["scaleTargetRef"]["name"]))
        for trigger in document["spec"].get("triggers", []):
            if "authenticationRef" in trigger:
                wanted.append(("TriggerAuthentication", trigger["authenticationRef"]["name"]))
    for document in of_kind(documents, "Ingress"):
        for rule in document["spec"]["rules"]:
            wanted += [("Service", path["backend"]["service"]["name"]) for path in rule["http"]["paths"]]
    for route in of_kind(documents, "HTTPRoute"):
        wanted += [("Gateway", parent["name"]) for parent in route["spec"]["parentRefs"]]
        wanted += [("Service", backend["name"]) for rule in route["spec"]["rules"] for backend in rule["backendRefs"]]
    for kind, name in wanted:
        if (kind, name) not in there:
            yield f"{kind}/{name} is named, but is not there"
    if of_kind(documents, "ScaledObject") and of_kind(documents, "HorizontalPodAutoscaler"):
        yield "ScaledObject and HorizontalPodAutoscaler would fight over the same Deployment"


def _claims(pod: Document) -> list[Document]:
    """The claims to devices that a pod makes."""
    return list(pod.get("resourceClaims", []))


def _selectors(documents: list[Document]) -> Iterator[str]:
    pods = [document["spec"]["template"] for document in of_kind(documents, "Deployment")]
    for document in documents:
        selector = {
            "Service": lambda spec: spec["selector"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "PodMonitor": lambda spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
        }.get(document["kind"])
        if selector is None:
            continue
        labels = selector(document["spec"]).items()
        matching = [pod for pod in pods if labels <= pod["metadata"]["labels"].items()]
        if not matching:
            yield f"{_called(document)} selects no pod"
        containers = [container for pod in matching for container in pod["spec"]["containers"]]
        ports = {port["name"] for container in containers for port in container["ports"]}
        for port in document["spec"].get("ports", []):
            if port["targetPort"] not in ports:
                yield f"{_called(document)}: no pod has a port {port['targetPort']}"


def _pods(documents: list[Document]) -> Iterator[str]:
    """The restricted pod security standard, a read-only root, and bounds on memory."""
    for document in of_kind(documents, "Deployment"):
        pod = document["spec"]["template"]["spec"]
        security = pod.get("securityContext", {})
        if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
            yield f"{_called(document)} may run as root"
        if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{_called(document)} has no seccomp profile"
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{_called(document)} carries a token for the API server"
        if pod.get("enableServiceLinks") is not False:
            yield f"{_called(document)} gets a ROO_VISION_* variable for each Service, which the service refuses"
        for container in _containers(pod):
            yield from (f"{_called(document)}: {problem}" for problem in _container(container))


def _containers(pod: Document) -> list[Document]:
    """All of a pod's, those that run before the others included."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def _container(container: Document) -> Iterator[str]:
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if security.get("readOnlyRootFilesystem") is not True:
        yield "has a writable root file system"
    if security.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "keeps capabilities"
    if "memory" not in container.get("resources", {}).get("limits", {}):
        yield "has no bound on its memory"
    if container["image"].endswith(":latest") or ":" not in container["image"]:
        yield f"has an image without a version: {container['image']}"


def _probes(documents: list[Document]) -> Iterator[str]:
    container = service_container(documents)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    if ports != {"http": PORT, "grpc": GRPC_PORT}:
        yield f"the service listens on {PORT} and {GRPC_PORT}, not on {ports}"
    for kind, path in PROBES.items():
        probe = container.get(f"{kind}Probe", {}).get("httpGet", {})
        if probe.get("path") != path or ports.get(probe.get("port"), probe.get("port")) != PORT:
            yield f"the {kind} probe should ask {path} on {PORT}, not {probe}"


def _stopping(documents: list[Document]) -> Iterator[str]:
    (deployment,) = of_kind(documents, "Deployment", "roo-vision")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    settings = environment(documents)
    grace, delay = float(settings.get("ROO_GRACE_PERIOD", "25")), float(settings.get("ROO_DRAIN_DELAY", "0"))
    whole = pod.get("terminationGracePeriodSeconds", 30)
    if before + grace + 5 > whole:
        yield f"preStop {before:g} s and ROO_GRACE_PERIOD {grace:g} s leave nothing of the pod's {whole} s"
    if SPOT in pod.get("tolerations", []) and whole > SPOT_NOTICE:
        yield f"the pod takes {whole} s, and a spot node is gone {SPOT_NOTICE} s after a drain has begun"
    if before + delay < 5:
        yield "the pod stops accepting before every proxy knows that it is leaving"


def _settings(documents: list[Document]) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(documents).items():
            patch.setenv(name, value)
        try:
            load_settings()
        except StartupError as error:
            yield f"the service would not start: {error}"


def _callers(documents: list[Document]) -> Iterator[str]:
    """Who comes from outside is asked for a key or token, and keys are where rotation reaches them."""
    settings = environment(documents)
    paths = public_paths(documents)
    if paths and settings.get("ROO_ENVIRONMENT") != "production":
        yield "people reach it from outside, but ROO_ENVIRONMENT is not production"
    if settings.get("ROO_METRICS_OPEN") == "true" and any("/metrics".startswith(path) for path in paths):
        yield "everybody is shown /metrics"
    if "ROO_API_KEYS_FILE" in settings:
        yield from _key_file(documents, Path(settings["ROO_API_KEYS_FILE"]))


def public_paths(documents: list[Document]) -> list[str]:
    """The paths that Ingress and HTTPRoutes pass on; `/` where a rule names none."""
    found = []
    for ingress in of_kind(documents, "Ingress"):
        found += [path["path"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
    for rule in (rule for route in of_kind(documents, "HTTPRoute") for rule in route["spec"]["rules"]):
        found += [match.get("path", {}).get("value", "/") for match in rule.get("matches", [{}])]
    return found


def _gateways(documents: list[Document]) -> Iterator[str]:
    """A route fits its Gateway: it is let in, asks for the listener's host, and its shares make a whole."""
    gateways = {gateway["metadata"]["name"]: gateway for gateway in of_kind(documents, "Gateway")}
    for route in of_kind(documents, "HTTPRoute"):
        for parent in route["spec"]["parentRefs"]:
            gateway = gateways[parent["name"]]
            if parent.get("namespace", route["metadata"]["namespace"]) != gateway["metadata"]["namespace"]:
                yield f"{_called(route)} looks for its Gateway in another namespace than it is in"
            listeners = {listener["name"]: listener for listener in gateway["spec"]["listeners"]}
            if parent.get("sectionName") not in listeners:
                yield f"{_called(route)}: the Gateway has no listener {parent.get('sectionName')}"
            elif route["spec"].get("hostnames") != [listeners[parent["sectionName"]]["hostname"]]:
                yield f"{_called(route)} and its listener have different hosts"
        for rule in route["spec"]["rules"]:
            if sum(backend.get("weight", 1) for backend in rule["backendRefs"]) != 100:
                yield f"{_called(route)}: shares are not per cent"
    for gateway in gateways.values():
        yield from (f"{_called(gateway)}: {problem}" for problem in _listeners(documents, gateway))


def _listeners(documents: list[Document], gateway: Document) -> Iterator[str]:
    for listener in gateway["spec"]["listeners"]:
        if listener["protocol"] != "HTTPS":
            yield f"the listener {listener['name']} is not encrypted"
            continue
        options = listener["tls"].get("options", {})
        account = options.get("kubernetes.azure.com/tls-cert-service-account")
        (found,) = of_kind(documents, "ServiceAccount", str(account)) or [{"metadata": {}}]
        if found["metadata"].get("labels", {}).get("azure.workload.identity/use") != "true":
            yield f"the certificate is read as {account}, which has no identity"
        admitted = listener["allowedRoutes"]["namespaces"].get("selector", {}).get("matchLabels", {})
        if admitted != {"kubernetes.io/metadata.name": "roo-vision"}:
            yield "routes of other namespaces are let in"


def _key_file(documents: list[Document], file: Path) -> Iterator[str]:
    (deployment,) = of_kind(documents, "Deployment", "roo-vision")
    volumes = {volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    mounts = service_container(documents)["volumeMounts"]
    there = [mount for mount in mounts if mount["mountPath"] == str(file.parent)]
    if not there:
        yield f"nothing is mounted at {file.parent}, where ROO_API_KEYS_FILE is"
    for mount in there:
        if "subPath" in mount:
            yield f"{file.parent} is mounted by subPath: a new version of the keys would not reach it"
        provider = volumes[mount["name"]]["csi"]["volumeAttributes"]["secretProviderClass"]
        (secrets,) = of_kind(documents, "SecretProviderClass", provider)
        objects = [yaml.safe_load(text) for text in yaml.safe_load(secrets["spec"]["parameters"]["objects"])["array"]]
        called = {secret.get("objectAlias", secret["objectName"]): secret for secret in objects}
        if file.name not in called:
            yield f"SecretProviderClass/{provider} makes {sorted(called)}, not {file.name}"
        elif called[file.name].get("objectVersion"):
            yield f"SecretProviderClass/{provider} pins a version of {file.name}: it would not be rotated"


def _scaling(documents: list[Document]) -> Iterator[str]:
    settings = environment(documents)
    for document in of_kind(documents, "ScaledObject"):
        spec = document["spec"]
        queues = [trigger["metadata"] for trigger in spec["triggers"] if trigger["type"] == "azure-servicebus"]
        if (counted := ",".join(map(_counted, queues))) != settings.get("ROO_QUEUE"):
            yield f"scales by {counted}, but works off {settings.get('ROO_QUEUE')}"
        for metadata in queues:
            if f"{metadata.get('namespace')}.servicebus.windows.net" != settings.get("ROO_SERVICEBUS_NAMESPACE"):
                yield f"scales by the namespace {metadata.get('namespace')}, which is not the service's"
        if len({metadata.get("messageCount") for metadata in queues}) > 1:
            yield "triggers with different messageCounts: a message takes the same time on every queue"
        for trigger in spec["triggers"]:
            numbers = [name for name, value in trigger["metadata"].items() if not isinstance(value, str)]
            yield from (f"trigger: {name} is not a string" for name in numbers)
            if trigger["type"] != "azure-servicebus" and spec["minReplicaCount"] < 1:
                yield f"where nothing runs, nothing is measured: the trigger {trigger['type']} never wakes it"
        if spec.get("fallback", {}).get("behavior") != "currentReplicasIfHigher":
            yield "where the scaler cannot ask, replicas that run are taken away"
        if any("replicas" in deployment["spec"] for deployment in of_kind(documents, "Deployment", "roo-vision")):
            yield "the Deployment fixes the number of replicas that the scaler owns"


def _counted(metadata: Document) -> str:
    """What a trigger counts, as ROO_QUEUE names it."""
    if "topicName" in metadata and "queueName" not in metadata:
        return f"{metadata['topicName']}/subscriptions/{metadata.get('subscriptionName')}"
    return str(metadata.get("queueName"))


def _called(document: Document) -> str:
    return f"{document['kind']}/{document['metadata']['name']}"


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _leaves(part, f"{path}.{name}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _leaves(part, f"{path}[{index}]")
    else:
        yield path, value
