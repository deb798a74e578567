"""The queue's benchmarks as tables; what was measured of several states of the code stands in one line each."""

from collections.abc import Mapping
from typing import Any

from app.bench.measurements import spread
from benchmarks.queue_chaos import Chaos
from benchmarks.queue_losses import Cut, Restarts, Robots
from benchmarks.queue_scenarios import People, Spike, Throughput


def throughput(found: Mapping[str, Throughput]) -> list[str]:
    """Medians and ranges by state."""
    rounds = len(next(iter(found.values())).http)
    lines = [
        f"| throughput, pictures a second ({rounds} rounds in turns) | HTTP, 32 at once | queue | queue / HTTP "
        "| CPU of the service a picture, ms: HTTP | queue |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for state, each in found.items():
        rates = (_ranged(each.http, 0), _ranged(each.queue, 0), _ranged(each.ratios, 2))
        cells = (*rates, _ranged(each.http_cpu_ms, 2), _ranged(each.queue_cpu_ms, 2))
        lines.append(f"| {state} | {' | '.join(cells)} |")
    return [*lines, ""]


def losses(cuts: Mapping[str, Cut], restarts: Mapping[str, Restarts], robots: Mapping[str, Robots]) -> list[str]:
    """One column for each state, one line for each figure."""
    states = list(cuts or restarts or robots)
    lines = [f"| | {' | '.join(states)} |", f"| --- |{' --- |' * len(states)}"]
    if cuts:
        backlog = cuts[states[0]].backlog
        gaps = " | ".join(_ranged(cuts[state].longest_gap, 2) for state in states)
        twice = " | ".join(_ranged(cuts[state].computed_twice, 0) for state in states)
        lines.append(f"| longest gap without a completion after a cut, {backlog} messages, lock 30 s; s | {gaps} |")
        lines.append(f"| pictures computed twice after it | {twice} |")
        lost = " | ".join(_ranged(cuts[state].lost_on_the_way, 0) for state in states)
        lines.append(f"| messages that came again when their locks had ended | {lost} |")
    if restarts:
        used = " | ".join(f"{restarts[state].deliveries_used}" for state in states)
        lines.append(f"| deliveries used up by {restarts[states[0]].restarts} restarts under a backlog | {used} |")
    if robots:
        grown = " | ".join(_ranged(robots[state].grown_mb, 1) for state in states)
        lines.append(f"| memory of {robots[states[0]].destinations} destinations for results, MB | {grown} |")
    return [*lines, ""]


def spike(found: Spike) -> list[str]:
    """One replica at shift change."""
    return [
        "| spike: 800 messages a minute | |",
        "| --- | --- |",
        f"| sent in {found.seconds:.0f} s | {found.sent} |",
        f"| results, lost, doubled | {found.results}, {found.sent - found.results}, {found.doubled} |",
        f"| largest backlog, messages | {found.most_backlog} |",
        f"| age of a result, s: p50, p99, most | {found.p50_age:.2f}, {found.p99_age:.2f}, {found.most_age:.2f} |",
        "",
    ]


def people(found: People) -> list[str]:
    """People's latencies, alone and beside robots."""
    return [
        "| people beside robots | alone | beside a full queue | ratio |",
        "| --- | --- | --- | --- |",
        f"| interactive p50, ms (5 requests a second) | {found.alone_p50_ms:.1f} | {found.beside_p50_ms:.1f} "
        f"| {found.beside_p50_ms / found.alone_p50_ms:.2f} |",
        f"| interactive p99, ms | {found.alone_p99_ms:.1f} | {found.beside_p99_ms:.1f} "
        f"| {found.beside_p99_ms / found.alone_p99_ms:.2f} |",
        f"| messages a second | {found.bulk_alone:.0f} | {found.bulk_beside:.0f} "
        f"| {found.bulk_beside / found.bulk_alone:.2f} |",
        "",
    ]


def chaos(found: Chaos) -> list[str]:
    """What was done, and what came of it."""
    return [
        "| chaos | |",
        "| --- | --- |",
        f"| messages, poison among them | {found.sent + found.poison}, {found.poison} |",
        f"| connections cut, workers killed, restarted | {found.cuts} times, {found.kills}, {found.restarts} |",
        f"| receiving stopped for results that were full or forbidden, and went on | {found.breaker_openings} times |",
        f"| requests for locks that were never answered | {found.silent_answers} |",
        f"| distinct results | {found.distinct_results} |",
        f"| repeated results that duplicate detection dropped | {found.repeated_results_dropped} |",
        f"| dead letters, poison among them, of these refused in a batch | {found.dead_letters}, "
        f"{found.dead_letters_that_are_poison}, {found.refused_in_batches} |",
        f"| deliveries used up by locks that ended (kills, cuts), by abandoning, by restarts | {found.locks_ended}, "
        f"{found.abandoned}, {found.abandoned_by_restarts} |",
        f"| left over | {found.left_over} |",
        f"| seconds | {found.seconds:.0f} |",
        "",
    ]


def _ranged(values: list[Any], digits: int) -> str:
    found = spread(values)
    if len(values) == 1:
        return f"{found.median:.{digits}f}"
    return f"{found.median:.{digits}f} ({found.low:.{digits}f}-{found.high:.{digits}f})"
