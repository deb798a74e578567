"""What is not ours to choose: nodes that take minutes to come, and a bus that takes only so much."""

import heapq
from dataclasses import dataclass, field

CREDITS_PER_SECOND = 1_000.0
"""What a Standard namespace may spend, a credit for each operation on messages.
Source: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-throttling"""
SEND, ANSWER, COMPLETIONS = 1, 5, 2
"""Credits of a picture: sent by the robot; received and completed by the worker, its result sent by the worker, and
received and completed by whom it is for. The page names sending, receiving and peeking, not completing; that costs
here."""
MESSAGING_UNIT_BYTES = 4e6
"""What a Premium messaging unit was seen to carry a second, in and out each.
Source: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-performance-improvements"""


@dataclass(slots=True)
class Bus:
    """A Standard namespace, or one without a bound."""

    credits_per_second: float = CREDITS_PER_SECOND

    def pass_on(self, seconds: float, offered: float, able: float) -> tuple[float, float]:
        """Of the messages offered and those that replicas could answer: how many are sent, and how many answered.

        Where credits are short senders and replicas are refused alike.
        """
        wanted = offered * SEND + able * ANSWER
        share = min(1.0, self.credits_per_second * seconds / wanted) if wanted else 1.0
        return offered * share, able * share


def pictures_per_second(completing_costs: bool = True) -> float:
    """What a Standard namespace carries for ever."""
    return CREDITS_PER_SECOND / (SEND + ANSWER - (0 if completing_costs else COMPLETIONS))


def messaging_unit_pictures_per_second(picture_bytes: float, result_bytes: float) -> float:
    """Pictures a second that a Premium messaging unit carries: each message goes in once and out once."""
    return MESSAGING_UNIT_BYTES / (picture_bytes + result_bytes)


@dataclass(slots=True)
class Nodes:
    """Places for pods. Where none is free a node is ordered, which has several; once there, it stays."""

    room: int
    pods_per_node: int = 4
    node_seconds: float = 180.0
    _places: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self._places = [0.0] * self.room

    def take(self, time: float) -> float:
        """When the place that a pod takes now is there."""
        if not self._places:
            self._places = [time + self.node_seconds] * self.pods_per_node
        return max(time, heapq.heappop(self._places))

    def give_back(self, place: float) -> None:
        """A pod that had this place is gone."""
        heapq.heappush(self._places, place)
