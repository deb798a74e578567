"""Everything that can go wrong with connections, answers, destinations and workers, all in one run."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

from app.servicebus.robot import Picture
from benchmarks.queue_stage import RESULTS, Stage, metric

LOCK_SECONDS = 8
ORDERLY = "orderly"
"""A queue for results that takes messages with a session id only: one without has a whole batch refused."""
OTHERS = (f"{ORDERLY},dedup=3600,sessions",)

FAULTS = {"lost": 0.005, "swallowed": 0.005, "unanswered": 0.02, "unconfirmed": 0.001, "throttled": 0.01}
"""Shares: settlements not applied, or applied without a word; renewals never answered; results stored without a word;
sends and requests refused for now."""
_CALM = dict.fromkeys(FAULTS, 0.0)
_EVERY_ORDERLY = 10
_POLL_SECONDS = 0.05
_PATIENCE_SECONDS = 180
_SEED = 20_261_121


@dataclass(slots=True)
class Chaos:
    """What was done to the queue and its workers, and what was left of it in the end."""

    sent: int
    poison: int
    cuts: int = 0
    kills: int = 0
    restarts: int = 0
    breaker_openings: int = 0
    """How often receiving was stopped, for a results queue that was full or forbidden, and went on."""
    silent_answers: int = 0
    """Renewals, and settlements by lock token, that were neither done nor answered."""
    abandoned_by_restarts: int = 0
    locks_ended: int = 0
    """Deliveries used up by kills, and by cuts while messages were on their way."""
    abandoned: int = 0
    distinct_results: int = 0
    repeated_results_dropped: int = 0
    dead_letters: int = 0
    dead_letters_that_are_poison: int = 0
    refused_in_batches: int = 0
    """Dead letters among these that the results' destination had refused."""
    left_over: int = 0
    seconds: float = 0.0


async def chaos(stage: Stage, count: int, kills: int) -> Chaos:
    """While `count` messages are worked off, `kills` workers are killed, as many restarted; the breaker opens twice."""
    began = time.monotonic()
    poison = max(2, count // 100)
    async with stage.robot() as robot:
        async for _ in robot.send(_mixed(stage, count, poison)):
            pass
    run = _Run(stage, Chaos(count, poison))
    await run.through(kills)
    _take_stock(stage, run.found)
    run.found.seconds = time.monotonic() - began
    return run.found


class _Run:
    """One run: trouble in the background, and steps at even distances on the way."""

    def __init__(self, stage: Stage, found: Chaos) -> None:
        self.found = found
        self._stage = stage
        self._bus = stage.bus
        self._service = stage.service()
        self._dice = random.Random(_SEED)
        self._calm = asyncio.Event()

    async def through(self, kills: int) -> None:
        steps = [self._kill, self._restart] * kills
        steps[1:1] = [self._full]
        steps[-1:-1] = [self._forbidden]
        cutting = asyncio.create_task(self._cut_now_and_then())
        try:
            self._bus.disturb("/faults", **FAULTS, seed=_SEED)
            for number, step in enumerate(steps, 1):
                await self._until_done(self.found.sent * number // (len(steps) + 1))
                await step()
            await self._until_done(self.found.sent)
            async with self._calmed():
                await self._until_settled()
        finally:
            cutting.cancel()
            self._service.stop()

    async def _kill(self) -> None:
        self._service.kill()
        self.found.kills += 1
        self._service = self._stage.service()

    async def _restart(self) -> None:
        """What it leaves locked cannot be told from what cuts have left: `queue_losses.restarts` counts that."""
        async with self._calmed():
            before = self._bus.total("abandoned")
            await asyncio.to_thread(self._service.stop)
            self.found.abandoned_by_restarts += self._bus.total("abandoned") - before
        self.found.restarts += 1
        self._service = self._stage.service()

    async def _full(self) -> None:
        await self._without_results("/fill", "full")

    async def _forbidden(self) -> None:
        await self._without_results("/forbid", "forbidden")

    async def _without_results(self, fault: str, name: str) -> None:
        port = await self._stage.ready(self._service)
        self._bus.disturb(fault, queue=RESULTS, **{name: True})
        await self._until_halted(port, True)
        await asyncio.sleep(LOCK_SECONDS / 2)
        self._bus.disturb(fault, queue=RESULTS, **{name: False})
        await self._until_halted(port, False)
        self.found.breaker_openings += 1

    async def _cut_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._dice.uniform(1, 4))
            if not self._calm.is_set():
                self._bus.disturb("/cut")
                self.found.cuts += 1

    @contextlib.asynccontextmanager
    async def _calmed(self) -> AsyncIterator[None]:
        self._calm.set()
        self._bus.disturb("/faults", **_CALM)
        yield
        self._bus.disturb("/faults", **FAULTS)
        self._calm.clear()

    async def _until_halted(self, port: int, halted: bool) -> None:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while bool(metric(port, "roo_queue_halted")) is not halted:
                self._service.check_alive()
                await asyncio.sleep(_POLL_SECONDS)

    async def _until_done(self, count: int) -> None:
        while self._bus.results() + self._bus.results(ORDERLY) < count:
            self._service.check_alive()
            await asyncio.sleep(_POLL_SECONDS)

    async def _until_settled(self) -> None:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while self._bus.unsettled():
                self._service.check_alive()
                await asyncio.sleep(0.2)


def _mixed(stage: Stage, count: int, poison: int) -> Iterator[Picture]:
    """Pictures, some with results that go to a queue with sessions; and poison: what is no picture, and what names that
    queue and no session."""
    every = count // poison
    for number, picture in enumerate(stage.messages(count, "chaos")):
        if number % every == 0 and number // every < poison:
            name = f"poison-{number // every:04}"
            yield Picture(
                name, *((picture.content, picture.properties, ORDERLY) if name[-1] in "13579" else (b"no", {}))
            )
        orderly = number % _EVERY_ORDERLY == 0
        yield replace(picture, reply_to=ORDERLY, reply_to_session=f"aisle-{number % 3}") if orderly else picture


def _take_stock(stage: Stage, found: Chaos) -> None:
    bus = stage.bus
    letters = bus.dead_letters()
    found.silent_answers = bus.happened("unanswered")
    found.locks_ended, found.abandoned = bus.total("lock_ended"), bus.total("abandoned")
    found.distinct_results = bus.results() + bus.results(ORDERLY)
    found.repeated_results_dropped = bus.total("duplicates", RESULTS) + bus.total("duplicates", ORDERLY)
    found.dead_letters = len(letters)
    found.dead_letters_that_are_poison = sum(str(letter["message_id"]).startswith("poison") for letter in letters)
    found.refused_in_batches = sum(letter["reason"] == "ReplyRefused" for letter in letters)
    found.left_over = bus.unsettled()
