"""How `benchmarks.protocols` asks: plain sockets, gRPC's own client, and a loop without any server."""

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import onnxruntime as ort

from app.bench import load
from app.bench.measurements import percentile
from app.bench.processes import Child
from app.errors import StartupError
from app.host.process import usable_cores
from app.rpc.messages import SERVICE

_WARM_SECONDS = 0.5


class Figure(NamedTuple):
    """Answers a second, the median of their milliseconds, and the CPU's for each, of who answers and of who asks."""

    per_second: float
    p50_ms: float
    service_ms: float = math.nan
    client_ms: float = math.nan

    def told(self) -> dict[str, float]:
        """What was measured of it."""
        return {name: value for name, value in self._asdict().items() if not math.isnan(value)}


Way = Callable[[int, float], Figure]
"""Measures with so many in flight, for so many seconds."""


def over_sockets(
    port: int, child: Child, requests: Sequence[bytes], speaking: type[load.Connection] = load.HttpConnection
) -> Way:
    """A closed loop of plain sockets."""

    def measure(concurrency: int, seconds: float) -> Figure:
        target = load.Target(port, child.cpu_seconds)
        found = load.press(target, requests, concurrency, _WARM_SECONDS, seconds, speaking)
        if found.errors:
            raise StartupError(f"{found.errors} requests failed: {found.first_error}")
        service, client = (
            1e3 * each / max(1, found.pictures) for each in (found.cpu_seconds, found.generator_cpu_seconds)
        )
        return Figure(found.per_second, found.p50_ms, service, client)

    return measure


def over_grpc_aio(port: int, child: Child, requests: Sequence[bytes]) -> Way:
    """A closed loop of calls on one connection, by gRPC's client."""

    async def press(concurrency: int, seconds: float) -> Figure:
        options = [("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(f"{load.HOST}:{port}", options=options) as channel:
            ask = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            return await _closed_loop(ask, child, requests, concurrency, seconds)

    return lambda concurrency, seconds: asyncio.run(press(concurrency, seconds))


async def _closed_loop(
    ask: Callable[[bytes], Awaitable[Any]], child: Child, requests: Sequence[bytes], concurrency: int, seconds: float
) -> Figure:
    latencies: list[float] = []
    ended = False

    async def one(number: int) -> None:
        while not ended:
            began = time.perf_counter()
            await ask(requests[number % len(requests)])
            number += 1
            latencies.append((time.perf_counter() - began) * 1e3)

    asking = [asyncio.create_task(one(number)) for number in range(concurrency)]
    await asyncio.sleep(_WARM_SECONDS)
    latencies.clear()
    began, service, client = time.perf_counter(), child.cpu_seconds(), time.process_time()
    await asyncio.sleep(seconds)
    window, count = time.perf_counter() - began, max(1, len(latencies))
    service, client = child.cpu_seconds() - service, time.process_time() - client
    found = Figure(len(latencies) / window, percentile(latencies, 0.5), 1e3 * service / count, 1e3 * client / count)
    ended = True
    await asyncio.gather(*asking)
    return found


def plain_loop(path: Path, rows: np.ndarray[Any, Any]) -> Way:
    """A thread a core runs one row after the other in one session: no server, no batches."""

    def measure(concurrency: int, seconds: float) -> Figure:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name, latencies = session.get_inputs()[0].name, []
        ends = time.perf_counter() + seconds

        def run() -> None:
            while (began := time.perf_counter()) < ends:
                session.run(None, {name: rows[:1]})
                latencies.append((time.perf_counter() - began) * 1e3)

        threads = [threading.Thread(target=run) for _ in range(min(concurrency, usable_cores()))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return Figure(len(latencies) / seconds, percentile(latencies, 0.5))

    return measure
