"""The tables of docs/scaling.md."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from benchmarks.scaling import prices, shipped
from benchmarks.scaling.rules import SYNC_SECONDS
from benchmarks.scaling.simulation import Place, Spike, most, oldest, replica_minutes, worst
from benchmarks.scaling.world import messaging_unit_pictures_per_second, pictures_per_second

AIM_SECONDS = 60.0
"""No message may wait for longer."""

BURST = Spike(per_minute=0, burst=800)
SPIKES = {
    "800 at once": BURST,
    "800 a minute": Spike(),
    "8,000 a minute": Spike(per_minute=8_000),
}
COUNTS = (5, 50, 100, 200, 250, 300, 600)


def places() -> dict[str, Place]:
    """Where it runs, with what is shipped for it."""
    keda = shipped.keda()
    apps = Place("Container Apps", shipped.container_apps(), start_seconds=20, sees_polls=True)
    return {
        place.name: place
        for place in (
            Place("AKS, nodes there", keda),
            Place("AKS, one node there", keda, room=4),
            Place("AKS, no node there", keda, room=0),
            apps,
            replace(apps, name="Container Apps, one kept", scaler=replace(apps.scaler, least=1)),
        )
    }


def spike_rows() -> Iterator[tuple[str, ...]]:
    """The spikes that a Standard namespace carries, everywhere."""
    yield "spike", "where", "pictures/s a replica", "oldest, s", "most replicas", "replica minutes"
    for spike in SPIKES:
        for place in places().values():
            for rate in (60, 10) if spike == "800 at once" else (60,):
                yield spike, place.name, str(rate), *_summary(place, replace(SPIKES[spike], pictures_per_second=rate))


def count_rows() -> Iterator[tuple[str, ...]]:
    """Other message counts, where it matters: a burst, fast and very slow replicas."""
    where = [places()[name] for name in ("AKS, nodes there", "Container Apps")]
    chosen = where[0].scaler.message_count
    yield "messageCount", *(f"{place.name}: oldest at 60/s, at 10/s" for place in where), "most replicas"
    for count in COUNTS:
        cells = []
        for place in where:
            other = replace(place, scaler=replace(place.scaler, message_count=count))
            ages = [oldest(worst(other, replace(BURST, pictures_per_second=rate), 300)) for rate in (60, 10)]
            cells.append(", ".join(f"{age:.0f}" for age in ages))
        called = most(worst(replace(where[0], scaler=replace(where[0].scaler, message_count=count)), BURST, 300))
        yield f"**{count}**" if count == chosen else str(count), *cells, str(called)


def ceiling_rows() -> Iterator[tuple[str, ...]]:
    """What buses carry, and how long they take to carry ten minutes of 80,000 a minute."""
    yield "bus", "pictures/s", "800,000 pictures, minutes"
    buses = {
        "Standard, completing a message counted as an operation": pictures_per_second(),
        "Standard, completing not counted": pictures_per_second(completing_costs=False),
        "a Premium messaging unit, links of 2 KB, results of 3 KB": messaging_unit_pictures_per_second(2e3, 3e3),
        "the same, pictures of 100 KB in the messages": messaging_unit_pictures_per_second(100e3, 3e3),
    }
    for name, rate in buses.items():
        yield name, f"{rate:.0f}", f"{800_000 / rate / 60:.0f}"


def price_rows() -> Iterator[tuple[str, ...]]:
    """About what a million pictures cost, by how fast a replica is."""
    yield "pictures/s a replica", "Container Apps", "AKS, full nodes", "bus, Standard"
    for rate in (150, 60, 26, 10):
        costs = prices.container_apps(rate), prices.aks(rate), prices.standard_bus()
        yield str(rate), *(f"{cost:.2f}" for cost in costs)


def message_count(polling: float, start_seconds: float = 15.0, slowest: float = 10.0) -> float:
    """The rule of docs/upgrades.md: what a slow replica does in the time that a poll, a sync and a start leave."""
    return slowest * (AIM_SECONDS - polling - SYNC_SECONDS - start_seconds)


def _summary(place: Place, spike: Spike) -> tuple[str, str, str]:
    moments = worst(place, spike)
    return f"{oldest(moments):.0f}", str(most(moments)), f"{replica_minutes(moments):.0f}"


def markdown(rows: Iterator[tuple[str, ...]]) -> str:
    """Rows as a Markdown table, the first one its head."""
    head, *body = rows
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ("---",) * len(head), *body))


Rows = Callable[[], Iterator[tuple[str, ...]]]
TABLES: tuple[Rows, ...] = (spike_rows, count_rows, ceiling_rows, price_rows)
