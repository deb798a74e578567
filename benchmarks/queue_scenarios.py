"""What the queue's benchmarks try while nothing goes wrong: throughput, a spike, and people beside robots."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.bench import load
from app.bench.measurements import percentile
from app.servicebus.robot import Robot
from benchmarks.queue_stage import Stage

PREDICT = "/v1/predict?read_barcodes=false"
PEOPLE_PER_SECOND = 5
SPIKE_PER_SECOND = 800 / 60


@dataclass(frozen=True, slots=True)
class Throughput:
    """Over HTTP at 32 at once and off a full queue, one after the other, round by round: pictures a second, and the
    service's own milliseconds of CPU a picture.
    """

    http: list[float] = field(default_factory=list)
    queue: list[float] = field(default_factory=list)
    http_cpu_ms: list[float] = field(default_factory=list)
    queue_cpu_ms: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Queue over HTTP, by round."""
        return [queue / http for queue, http in zip(self.queue, self.http, strict=True)]


@dataclass(frozen=True, slots=True)
class Spike:
    """800 messages a minute for `seconds`. Ages are seconds from sending to the result in hand."""

    seconds: float
    sent: int
    results: int
    doubled: int
    most_backlog: int
    p50_age: float
    p99_age: float
    most_age: float


@dataclass(frozen=True, slots=True)
class People:
    """Interactive requests at 5 a second, alone and while the queue is full; milliseconds and pictures a second."""

    alone_p50_ms: float
    alone_p99_ms: float
    beside_p50_ms: float
    beside_p99_ms: float
    bulk_alone: float
    bulk_beside: float


async def throughput(stages: Sequence[Stage], rounds: int, seconds: float, messages: int) -> list[Throughput]:
    """HTTP and queue in turns, and all states of the code in turns."""
    found = [Throughput() for _ in stages]
    for number in range(rounds):
        for stage, rates in zip(stages, found, strict=True):
            await _over_http(stage, seconds, rates)
            await _off_the_queue(stage, messages, f"{stage.state.name}-{number}", rates)
    return found


async def spike(stage: Stage, seconds: float) -> Spike:
    """One replica at shift change, from an empty queue."""
    count = round(seconds * SPIKE_PER_SECOND)
    ages: list[float] = []
    ids: list[str] = []
    backlog = 0
    with stage.service() as service:
        await stage.ready(service)
        async with stage.robot(reads_results=True) as robot:
            reading = asyncio.create_task(_read(robot, count, ages, ids))
            async for _ in robot.send(stage.messages(count, "spike"), SPIKE_PER_SECOND):
                if len(robot.sent_at) % 20 == 0:
                    backlog = max(backlog, len(robot.sent_at) - len(ages))
            await asyncio.wait_for(reading, 120)
    return Spike(
        seconds=seconds,
        sent=count,
        results=len(set(ids)),
        doubled=len(ids) - len(set(ids)),
        most_backlog=backlog,
        p50_age=percentile(ages, 0.5),
        p99_age=percentile(ages, 0.99),
        most_age=max(ages),
    )


async def people(stage: Stage, seconds: float, per_second: float) -> People:
    """People alone, then beside a queue that stays full; `per_second` is about what the queue is worked off with."""
    with stage.service("--no-queue") as service:
        port = await stage.ready(service)
        alone = await _interactive(port, stage, seconds)
    robots_alone = Throughput()
    await _off_the_queue(stage, int(per_second * seconds / 2), "alone", robots_alone)
    before = stage.bus.results()
    count = int(1.5 * per_second * (seconds + 4))
    await stage.fill(count, "beside")
    with stage.service() as service:
        port = await stage.ready(service)
        await stage.until_results(before + 50, service)
        began, first = time.monotonic(), stage.bus.results()
        beside = await _interactive(port, stage, seconds)
        bulk = (stage.bus.results() - first) / (time.monotonic() - began)
        await stage.until_results(before + count, service)
    return People(*_p50_p99(alone), *_p50_p99(beside), robots_alone.queue[0], bulk)


async def _over_http(stage: Stage, seconds: float, found: Throughput) -> None:
    with stage.service("--no-queue") as service:
        port = await stage.ready(service)
        requests = [load.post(PREDICT, "image/jpeg", picture.content) for picture in stage.messages(4, "")]
        target = load.Target(port, service.cpu_seconds)
        measured = await asyncio.to_thread(load.press, target, requests, 32, 1.0, seconds)
    found.http.append(measured.per_second)
    found.http_cpu_ms.append(1e3 * measured.cpu_seconds / measured.pictures)


async def _off_the_queue(stage: Stage, count: int, prefix: str, found: Throughput) -> None:
    """From a tenth to nine tenths of a queue that was full before the service came."""
    before = stage.bus.results()
    await stage.fill(count, prefix)
    with stage.service() as service:
        began = await stage.until_results(before + count // 10, service)
        first, cpu = stage.bus.results(), service.cpu_seconds()
        ended = await stage.until_results(before + count * 9 // 10, service)
        done, cpu = stage.bus.results() - first, service.cpu_seconds() - cpu
        await stage.until_results(before + count, service)
    found.queue.append(done / (ended - began))
    found.queue_cpu_ms.append(1e3 * cpu / done)


async def _read(robot: Robot, count: int, ages: list[float], ids: list[str]) -> None:
    async for reply in robot.replies():
        ages.append(time.monotonic() - robot.sent_at[reply.message_id])
        ids.append(reply.result_id)
        if len(ids) >= count:
            return


async def _interactive(port: int, stage: Stage, seconds: float) -> list[float]:
    """Latencies, in milliseconds, of requests sent at a steady rate, whether or not the last one is back."""
    request = load.post(PREDICT, "image/jpeg", next(stage.messages(1, "")).content)
    began = time.monotonic()
    asked = []
    for number in range(int(seconds * PEOPLE_PER_SECOND)):
        await asyncio.sleep(max(0.0, began + number / PEOPLE_PER_SECOND - time.monotonic()))
        asked.append(asyncio.create_task(_ask(port, request)))
    return list(await asyncio.gather(*asked))


async def _ask(port: int, request: bytes) -> float:
    reader, writer = await asyncio.open_connection(load.HOST, port)
    began = time.monotonic()
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)
    took = time.monotonic() - began
    writer.close()
    return 1e3 * took


def _p50_p99(latencies: list[float]) -> tuple[float, float]:
    return percentile(latencies, 0.5), percentile(latencies, 0.99)
