"""What a million pictures cost: about, in US dollars, by list prices of a region in the United States, November 2026.

Sources: https://azure.microsoft.com/pricing/details/container-apps/ (consumption, active),
https://azure.microsoft.com/pricing/details/virtual-machines/linux/ (Standard_D8as_v6, four pods),
https://azure.microsoft.com/pricing/details/service-bus/ (an operation is any call, and each 64 KB of a message one).
"""

from benchmarks.scaling.world import ANSWER, SEND

MILLION = 1_000_000
VCPU_SECOND, GIB_SECOND = 0.000024, 0.000003
CORES, GIB = 2, 4
NODE_HOUR, PODS_PER_NODE = 0.36, 4
OPERATIONS_MILLION = 0.80
"""Those after the first 13 million of a month, which are in the base price of about 10 dollars."""
MESSAGING_UNIT_HOUR = 0.93


def container_apps(pictures_per_second: float) -> float:
    """Replicas that are busy all the time."""
    return MILLION / pictures_per_second * (CORES * VCPU_SECOND + GIB * GIB_SECOND)


def aks(pictures_per_second: float) -> float:
    """Nodes that are full of busy pods; the cluster itself comes on top."""
    return MILLION / pictures_per_second / 3600 * NODE_HOUR / PODS_PER_NODE


def standard_bus() -> float:
    """Messages of at most 64 KB."""
    return (SEND + ANSWER) * OPERATIONS_MILLION


def premium_pays_from() -> float:
    """Pictures a month above which one messaging unit is cheaper than Standard's operations."""
    return MESSAGING_UNIT_HOUR * 730 / standard_bus() * MILLION
