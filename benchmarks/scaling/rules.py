"""How KEDA and the autoscaler behind it decide, as their documents and their source say.

Sources: between none and one (https://keda.sh/docs/latest/concepts/scaling-deployments/), from one on
(https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/).
"""

import math
from collections import deque
from dataclasses import dataclass

SYNC_SECONDS = 15.0
"""How often the autoscaler looks, its default."""
TOLERANCE = 0.1
"""A change by no more than this part is not made, its default."""


@dataclass(frozen=True, slots=True)
class Direction:
    """How fast replicas may come, or go: the policy that lets most change decides; seconds."""

    window: float
    percent: int
    period: float
    pods: int = 0


@dataclass(frozen=True, slots=True)
class Scaler:
    """What a ScaledObject, or a Container App's `scale`, says."""

    message_count: int
    least: int
    most: int
    polling: float
    cooldown: float
    up: Direction
    down: Direction
    activation: int = 0


def wish(scaler: Scaler, messages: float, current: int) -> int:
    """How many replicas that many messages ask for, where `current`, one at least, are there already."""
    ratio = messages / (scaler.message_count * current)
    if abs(1 - ratio) <= TOLERANCE:
        return current
    return min(scaler.most, max(1, scaler.least, math.ceil(messages / scaler.message_count)))


class Activation:
    """KEDA's part: the first replica, and the last."""

    def __init__(self, scaler: Scaler) -> None:
        self._scaler = scaler
        self._active_at = -math.inf

    def decide(self, time: float, messages: float, current: int) -> int:
        """Replicas after a poll: one, or the least, where the first message is seen; none after the cooldown."""
        if messages > self._scaler.activation:
            self._active_at = time
            return current or max(1, self._scaler.least)
        if self._scaler.least == 0 and time - self._active_at > self._scaler.cooldown:
            return 0
        return current


class Autoscaler:
    """The HorizontalPodAutoscaler, which works from one replica on."""

    def __init__(self, scaler: Scaler) -> None:
        self._scaler = scaler
        self._wishes: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()

    def decide(self, time: float, messages: float, current: int) -> int:
        """Replicas after a sync: what is wished for, held back by the windows and the policies."""
        if current == 0:
            return 0
        wanted = wish(self._scaler, messages, current)
        self._wishes.append((time, wanted))
        after = self._bounded(time, self._stable(time, wanted, current), current)
        self._changes.append((time, after - current))
        return after

    def _stable(self, time: float, wanted: int, current: int) -> int:
        """No more than the least wish of the window for coming, no fewer than the greatest of the one for going."""
        up, down = self._scaler.up.window, self._scaler.down.window
        while self._wishes[0][0] <= time - max(up, down) and len(self._wishes) > 1:
            self._wishes.popleft()
        least = min([wanted, *(wish for at, wish in self._wishes if at > time - up)])
        greatest = max([wanted, *(wish for at, wish in self._wishes if at > time - down)])
        return min(max(current, least), greatest)

    def _bounded(self, time: float, wanted: int, current: int) -> int:
        up, down = self._scaler.up, self._scaler.down
        if wanted > current:
            before = current - self._changed(time, up.period)
            return min(wanted, max(current, before + up.pods, math.ceil(before * (1 + up.percent / 100))))
        if wanted < current:
            before = current - self._changed(time, down.period)
            # A policy that is not there lets nothing go; the one that lets most go decides.
            return max(wanted, 1, min(current, before - down.pods, int(before * (1 - down.percent / 100))))
        return current

    def _changed(self, time: float, period: float) -> int:
        return sum(by for at, by in self._changes if at > time - period)
