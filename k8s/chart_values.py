"""The values of the Helm chart: what they may say, what they say by default, and how they are checked."""

import json
import re
from pathlib import Path

import yaml

KUBERNETES = Path(__file__).parent
GENERATED = "# Made of the overlays by `make chart`; not to be edited."


OPTIONS: dict[str, dict[str, str]] = {
    "gpu": {"true": "gpu"},
    "spot": {"true": "spot"},
    "gateway": {"true": "gateway"},
    "private": {"true": "private"},
    "keda": {"true": "keda"},
    "http": {"cpu": "http", "prometheus": "http-azure"},
    "monitoring": {"operator": "monitoring", "azure": "monitoring-azure"},
    "verifyImages": {"true": "verify-images"},
}
"""Each value of the chart, what it may say, and the component that this stands for."""

VALUES = """\
{generated}
# With these values the chart renders what overlays/cpu does.

# Where everything is; the Gateway's proxies are beside it, in the namespace of this name with -gateway behind it.
namespace: roo-vision

image:
  repository: {repository}
  # Empty: the chart's version, with -cuda behind it where `gpu` is on.
  tag: ""
  # sha256:…, in place of the tag.
  digest: ""

# overlays/gpu: a GPU for each pod.
gpu: false
# Nodes that Azure takes back within 30 s.
spot: false
# HTTPS from outside by the Gateway API.
gateway: true
# overlays/azure-private: private endpoints in place of Azure's public addresses.
private: false
# 0 to 50 replicas (4 with a GPU) by the queue's depth.
keda: true
# For people, after keda: `cpu` or `prometheus` (Azure's), and never fewer than one replica.
http: ""
# `operator` (the Prometheus operator) or `azure` (managed Prometheus).
monitoring: ""
# Only images that the workflow signed are let in.
verifyImages: false

# Empty: what the overlays have.
minReplicas:
maxReplicas:
messagesPerReplica:

# ROO_* and OTEL_* variables beside those of the overlays, or in their place; text, so numbers in quotes.
settings: {{}}

# Your names.
azure:
"""


def values_and_schema(used: set[str]) -> tuple[str, str]:
    """values.yaml and values.schema.json, of the ConfigMap `azure` as far as the templates use it."""
    text = (KUBERNETES / "overlays/cpu/azure.yaml").read_text()
    _, _, body = text.partition("\ndata:\n")
    entries = re.findall(r"((?:^  #.*\n)*)^  (\w+): (.*)\n", body, re.MULTILINE)
    named = [(comment, name, value) for comment, name, value in entries if name in used]
    kustomization = yaml.safe_load((KUBERNETES / "overlays/cpu/kustomization.yaml").read_text())
    head = VALUES.format(generated=GENERATED, repository=kustomization["images"][0]["newName"])
    values = head + "".join(f"{comment}  {name}: {value}\n" for comment, name, value in named)
    text_value = {"type": "string", "pattern": r"^[^\s\"'\\{}]+$"}
    label = {"type": "string", "pattern": "^[a-z]([a-z0-9-]{0,50}[a-z0-9])?$"}
    number = {"type": ["integer", "null"], "minimum": 0, "maximum": 1000}
    properties: dict[str, object] = {
        "namespace": label,
        "image": _object(
            {
                "repository": text_value,
                "tag": {"type": "string", "pattern": r"^[\w.-]*$"},
                "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
            }
        ),
        "minReplicas": number,
        "maxReplicas": {**number, "minimum": 1},
        "messagesPerReplica": {"type": ["integer", "null"], "minimum": 1},
        "settings": {
            "type": "object",
            "patternProperties": {"^(ROO|OTEL)_[A-Z0-9_]+$": {"type": "string"}},
            "additionalProperties": False,
        },
        "azure": _object({name: text_value for _, name, _ in named}),
        "global": {"type": "object"},
    }
    for name, allowed in OPTIONS.items():
        properties[name] = {"type": "boolean"} if "true" in allowed else {"enum": ["", *allowed]}
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_object(properties)}
    return values, json.dumps(schema, indent=2) + "\n"


def _object(properties: dict[str, object]) -> dict[str, object]:
    return {"type": "object", "properties": properties, "additionalProperties": False}
