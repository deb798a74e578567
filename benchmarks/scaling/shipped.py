"""The scalers that are shipped, read from where they are shipped."""

import re
from pathlib import Path
from typing import Any

import yaml

from benchmarks.scaling.rules import Direction, Scaler

ROOT = Path(__file__).parents[2]


def keda() -> Scaler:
    """The scaler of k8s/components/keda."""
    spec: dict[str, Any] = yaml.safe_load((ROOT / "k8s/components/keda/scaledobject.yaml").read_text())["spec"]
    behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    up, down = behaviour["scaleUp"], behaviour["scaleDown"]
    coming = {policy["type"]: policy for policy in up["policies"]}
    (going,) = down["policies"]
    (metadata,) = (trigger["metadata"] for trigger in spec["triggers"] if trigger["type"] == "azure-servicebus")
    return Scaler(
        message_count=int(metadata["messageCount"]),
        activation=int(metadata["activationMessageCount"]),
        least=spec["minReplicaCount"],
        most=spec["maxReplicaCount"],
        polling=spec["pollingInterval"],
        cooldown=spec["cooldownPeriod"],
        up=Direction(
            up["stabilizationWindowSeconds"],
            coming["Percent"]["value"],
            coming["Pods"]["periodSeconds"],
            coming["Pods"]["value"],
        ),
        down=Direction(down["stabilizationWindowSeconds"], going["value"], going["periodSeconds"]),
    )


def container_apps() -> Scaler:
    """The scaler of containerapp.bicep, with the windows and steps that Container Apps have for every app.

    Source: https://learn.microsoft.com/azure/container-apps/scale-app#scale-behavior (steps of 1, 4, 8, 16, 32; down
    by all at once after 300 s).
    """
    text = (ROOT / "containerapp.bicep").read_text()

    def number(pattern: str) -> int:
        (found,) = {int(value) for value in re.findall(pattern, text, re.MULTILINE)}
        return found

    return Scaler(
        message_count=number(r"^param messageCount int = (\d+)$"),
        activation=number(r"activationMessageCount: '(\d+)'"),
        least=number(r"^param minReplicas int = (\d+)$"),
        most=number(r"^param maxReplicas int = (\d+)$"),
        polling=number(r"pollingInterval: (\d+)"),
        cooldown=number(r"cooldownPeriod: (\d+)"),
        up=Direction(window=0, percent=100, period=15, pods=4),
        down=Direction(window=300, percent=100, period=15),
    )
