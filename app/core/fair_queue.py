"""Whose turn it is among those who wait with one priority."""

from collections import deque
from collections.abc import Collection, Iterator
from typing import Generic, TypeVar

from app.core.batch import BatchKey, Entry
from app.core.request import Flow

K = TypeVar("K", bound=BatchKey)
T = TypeVar("T")
R = TypeVar("R")


class FairQueue(Generic[K, T, R]):
    """Waiting entries of one priority. Those of a key and a flow are in order of arrival; flows take turns by the lane
    time that they used, each as much as its weight says beside the others'. A batch, of one key, is filled from all
    flows of it.

    Source of the turns: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996); an entry is its packet.
    """

    def __init__(self) -> None:
        self._by_key: dict[K, dict[Flow, deque[Entry[K, T, R]]]] = {}
        self._used_until: dict[tuple[object, Flow], float] = {}
        self._one_turn: dict[K, object] = {}
        self._virtual_time = 0.0
        self._cost = 1.0
        self._flows = 0
        self.count = 0

    def push(self, entry: Entry[K, T, R]) -> None:
        flows = self._by_key.setdefault(entry.key, {})
        if entry.flow not in flows:
            flows[entry.flow] = deque()
            self._flows += 1
        flows[entry.flow].append(entry)
        self.count += 1

    def discard(self, entry: Entry[K, T, R]) -> None:
        waiting = self._by_key.get(entry.key, {}).get(entry.flow)
        if waiting is None or entry not in waiting:
            return
        waiting.remove(entry)
        self._removed(entry.key, entry.flow, 1)

    def pop(self, key: K, most: int, cost: float) -> list[Entry[K, T, R]]:
        """The next of `key`, each of which uses so much lane time."""
        self._cost = cost
        taken: list[Entry[K, T, R]] = []
        while len(taken) < most and (flows := self._by_key.get(key)):
            flow = self._next_flow(key, flows)
            alone = len(flows) == 1
            count = min(most - len(taken), len(flows[flow])) if alone else 1
            taken += [flows[flow].popleft() for _ in range(count)]
            self._used_until[self._account(key), flow] = self._start(key, flow) + cost * count / flow.weight
            self._removed(key, flow, count)
        return taken

    def next_key(self) -> K | None:
        """Whose turn it is: the key of the flow that would have used least, and among equals of who waits longest."""
        if len(self._by_key) <= 1:
            return next(iter(self._by_key), None)
        return min(self._by_key, key=lambda key: min(self._turn(key, flow) for flow in self._by_key[key]))

    def begin_turn(self) -> None:
        """A turn begins. Who used more than those who wait has to wait; who was away has saved nothing up."""
        self._virtual_time = min(self._start(key, flow) for key, flows in self._by_key.items() for flow in flows)
        if len(self._used_until) > self._flows:
            self._used_until = {flow: until for flow, until in self._used_until.items() if until > self._virtual_time}

    def succeed(self, new: K, old: K) -> None:
        """Have `new` take turns as one with `old`, in order of arrival: those who came for what it replaces would else
        wait twice as long, because two keys share the time.
        """
        if old not in self._one_turn:
            account = self._one_turn[old] = object()
            for flow in [flow for key, flow in self._used_until if key is old]:
                self._used_until[account, flow] = self._used_until.pop((old, flow))
        self._one_turn[new] = self._one_turn[old]

    def forget(self, key: K) -> None:
        """Keep nothing of a key of which nothing waits."""
        account = self._account(key)
        self._one_turn.pop(key, None)
        if account not in self._one_turn.values():
            self._used_until = {flow: until for flow, until in self._used_until.items() if flow[0] is not account}

    def oldest(self) -> Entry[K, T, R] | None:
        heads = (waiting[0] for flows in self._by_key.values() for waiting in flows.values())
        return min(heads, key=lambda entry: entry.enqueued_at, default=None)

    def waiting(self, key: K) -> int:
        return sum(len(waiting) for waiting in self._by_key.get(key, {}).values())

    def by_key(self) -> dict[K, int]:
        return {key: self.waiting(key) for key in self._by_key}

    def waiting_keys(self) -> Collection[K]:
        return self._by_key.keys()

    def __iter__(self) -> Iterator[Entry[K, T, R]]:
        for flows in list(self._by_key.values()):
            for waiting in list(flows.values()):
                yield from list(waiting)

    def _next_flow(self, key: K, flows: dict[Flow, deque[Entry[K, T, R]]]) -> Flow:
        return next(iter(flows)) if len(flows) == 1 else min(flows, key=lambda flow: self._turn(key, flow))

    def _turn(self, key: K, flow: Flow) -> tuple[float, float]:
        """What it would have used with one entry more: of two that come at once the weightier is first."""
        return self._start(key, flow) + self._cost / flow.weight, self._by_key[key][flow][0].enqueued_at

    def _start(self, key: K, flow: Flow) -> float:
        return max(self._used_until.get((self._account(key), flow), 0.0), self._virtual_time)

    def _account(self, key: K) -> object:
        """What a key's lane time is counted to: its own, or that of those whose place it took."""
        return self._one_turn.get(key, key) if self._one_turn else key

    def _removed(self, key: K, flow: Flow, count: int) -> None:
        self.count -= count
        flows = self._by_key[key]
        if not flows[flow]:
            del flows[flow]
            self._flows -= 1
        if not flows:
            del self._by_key[key]
