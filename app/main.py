"""The service as a process: its start and its stop each read as a list."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from app.api.app import create_app
from app.api.body import UploadLimits
from app.api.console.examples import Examples
from app.api.dead_letters import QueueAccess
from app.api.security import perimeter
from app.api.security.perimeter import Perimeter
from app.assembly import Core, build
from app.host import allocator
from app.http_server import HttpServer, listen, stop_event
from app.loading.serving import trusted
from app.monitoring import gauges
from app.otel_settings import load_otel_settings
from app.repository.sources.start import Brought, bring
from app.settings import Settings
from app.telemetry import logs, process, setup
from app.telemetry.audit import Audit

if TYPE_CHECKING:
    from app.rpc.server import RpcServer
    from app.servicebus.front import QueueFront

log = logging.getLogger(__name__)

CLOSE_SECONDS = 2.0
"""Part of the grace period that is kept for closing the lanes after the last answer."""

LAST_WORDS_SECONDS = 0.5
"""How long before the grace period's end who still waits is told that there will be no answer."""

EXIT_SECONDS = 0.2
"""How long before the grace period's end the process goes, whatever its threads still do."""

SWITCH_SECONDS = 0.0002
"""How long a thread may keep the interpreter from one that wants it. A lane wants it for a moment between decoding and
computing; in the five milliseconds that Python allows by default, its core idles while the event loop answers others.
"""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; raises `StartupError` where it cannot start."""
    writer = logs.configure(settings.log_level)
    try:
        ended = _serve_logged(settings, writer)
    finally:
        writer.close()
    if not ended:
        os._exit(0)  # a model is still being loaded, or computes, and nothing but the process's end stops that


def _serve_logged(settings: Settings, writer: logs.Writer) -> bool:
    """Serve; returns whether loading and computing had ended when the service did."""
    allocator.keep_buffers()
    sys.setswitchinterval(SWITCH_SECONDS)
    with _ended_by(signal.SIGTERM):
        brought = bring(settings, trusted(settings))
    if brought is not None:
        settings = settings.model_copy(update={"models_dir": brought.folder})
    core = build(settings)
    operations = _Operations.of(core, settings)
    if brought is not None:
        _note(brought, core)
    telemetry = setup.install(core.device.name, load_otel_settings(), writer)
    gauges.observe_core(core.service, core.batcher, core.executor, core.health, core.device)
    gauges.observe_releases(core.service.registry, core.rollouts)
    gauges.observe_process()
    try:
        with listen(settings) as listener:
            around = perimeter.build(settings)
            server = _http_server(core, settings, telemetry, around, operations)
            with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
                computed = runner.run(_serve(core, server, listener, around, settings, writer, operations))
    finally:
        telemetry.shutdown()
    return computed and core.health.started().ok and not core.control.busy


def _note(brought: Brought, core: Core) -> None:
    """Have it told where the models came from, and which did not come."""
    core.health.watch("models source", lambda: brought.told)
    core.start.failures.update(brought.failures)


@contextmanager
def _ended_by(number: signal.Signals) -> Iterator[None]:
    """Let this signal end the process in the block, which it would not do to a container's first process."""

    def end(*_: object) -> NoReturn:
        raise SystemExit(0)

    before = signal.signal(number, end)
    try:
        yield
    finally:
        signal.signal(number, before)


async def _serve(
    core: Core,
    server: HttpServer,
    listener: socket.socket,
    around: Perimeter,
    settings: Settings,
    writer: logs.Writer,
    operations: "_Operations",
) -> bool:
    """Returns whether the lanes had finished when the service ended."""
    stop = stop_event()
    http = asyncio.create_task(server.serve(sockets=[listener]))
    watching = asyncio.create_task(process.watch_event_loop())
    releasing = asyncio.create_task(core.rollouts.run(), name="roll-outs")
    queue: _Queue | None = None
    rpc: RpcServer | None = None
    try:
        rpc = await _start_rpc(core, around, settings)
        await _load(core, stop)
        if not stop.is_set():
            queue = _start_queue(core, settings)
            if queue is not None and operations.queues is not None:
                operations.queues.desk = queue.front.desk
            log.info("ready on port %d", listener.getsockname()[1])
        await _until(stop, queue)
        _end_within(settings.grace_period, writer)
    finally:
        finished = await _drain(core, server, http, queue, rpc, settings)
        watching.cancel()
        releasing.cancel()
    return finished


async def _until(stop: asyncio.Event, queue: "_Queue | None") -> None:
    """Wait for the signal; a queue that cannot be worked off at all is raised."""
    if queue is None:
        await stop.wait()
        return
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({stopping, queue.task}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if queue.task.done():
        queue.task.result()


@dataclass(frozen=True, slots=True)
class _Operations:
    """What operators do here, and the way to the queues' dead letters where they may go there."""

    audit: Audit
    queues: QueueAccess | None

    @classmethod
    def of(cls, core: Core, settings: Settings) -> "_Operations":
        """Raises `StartupError` where the audit log cannot be written."""
        audit = Audit(settings.audit_log)
        if not settings.queue or not settings.worker or settings.queue_control == "off":
            return cls(audit, None)
        return cls(audit, QueueAccess(settings.queue_control, core.start.serving.memory))


@dataclass(frozen=True, slots=True)
class _Queue:
    """The queues' workers and the task that runs them."""

    front: "QueueFront"
    task: "asyncio.Task[None]"

    async def stop(self, seconds: float) -> None:
        """Finish or give back what is held."""
        await self.front.stop(seconds)

    async def close(self) -> None:
        """Disconnect, and end what still waits for a message."""
        await self.front.close()
        self.task.cancel()
        await asyncio.wait({self.task})


def _start_queue(core: Core, settings: Settings) -> _Queue | None:
    if not settings.queue or not settings.worker:
        return None
    from app.servicebus.front import QueueFront  # the SDK takes a third of a second to import; only its users wait

    front = QueueFront(core.service, settings)
    core.health.watch("queue", lambda: str(front))
    gauges.observe_queues(front.workers)
    return _Queue(front, asyncio.create_task(front.run(), name="queue-front"))


async def _start_rpc(core: Core, around: Perimeter, settings: Settings) -> "RpcServer | None":
    if settings.grpc_port is None or not settings.http:
        return None
    from app.rpc.server import RpcServer  # only those who use gRPC wait for its import

    rpc = RpcServer(core.service, core.health, around.doorkeeper(), core.control, settings)
    await rpc.start()
    return rpc


async def _load(core: Core, stop: asyncio.Event) -> None:
    """Load while HTTP already answers its probes; a stop signal ends the wait, a failure is raised."""
    started = time.monotonic()
    loading = _in_background(core)
    stopping = asyncio.create_task(stop.wait())
    either: set[asyncio.Future[Any]] = {loading, stopping}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if loading.done():
        loading.result()
        log.info("all models loaded and warm after %.2f s", time.monotonic() - started)
    # What start-up made lives for ever; the garbage collector need not walk it again and again.
    gc.collect()
    gc.freeze()
    allocator.give_back()


def _in_background(core: Core) -> "asyncio.Future[None]":
    """Load in a thread that no one waits for at the end; the event loop's own threads are joined."""
    loaded: Future[None] = Future()

    def load() -> None:
        try:
            core.load()
            core.rollouts.resume()
        except BaseException as error:  # whatever it was, it is raised where it is waited for
            loaded.set_exception(error)
        else:
            loaded.set_result(None)

    threading.Thread(target=load, name="loading", daemon=True).start()
    return asyncio.wrap_future(loaded)


async def _drain(
    core: Core,
    server: HttpServer,
    http: "asyncio.Task[None]",
    queue: _Queue | None,
    rpc: "RpcServer | None",
    settings: Settings,
) -> bool:
    """Not ready → receive no more → accept for the drain delay → finish what was accepted → answer who is still there.

    The queue's messages are finished, or given back, while HTTP still answers. Returns whether the lanes finished.
    """
    log.info("stopping: not ready from now on")
    core.health.begin_drain()
    core.service.shadows.close()
    core.control.stop()
    if core.poller is not None:
        core.poller.stop()
    server.begin_drain()
    ends = time.monotonic() + settings.grace_period - CLOSE_SECONDS
    settling = asyncio.create_task(queue.stop(ends - time.monotonic())) if queue else None
    if core.health.started().ok:
        await asyncio.sleep(settings.drain_delay)
    server.stop()
    calling = asyncio.create_task(rpc.stop(max(0.0, ends - time.monotonic()))) if rpc else None
    fronts: set[asyncio.Task[None]] = {task for task in (http, settling, calling) if task is not None}
    await asyncio.wait(fronts, timeout=max(0.0, ends - time.monotonic()))
    closing = asyncio.create_task(queue.close()) if queue else None
    finished = await asyncio.to_thread(core.executor.stop, CLOSE_SECONDS if http.done() else 0.0)
    await asyncio.wait({http}, timeout=max(0.0, ends + CLOSE_SECONDS - LAST_WORDS_SECONDS - time.monotonic()))
    server.cut()
    last: set[asyncio.Task[None]] = {task for task in (closing, calling) if task is not None}
    if last:
        await asyncio.wait(last, timeout=CLOSE_SECONDS)
    await http
    log.info("stopped")
    return finished


def _end_within(seconds: float, writer: logs.Writer) -> None:
    """End the process that long from now, whatever a thread still computes, draws or sends: nothing else stops those,
    and the platform would kill it a moment later. By then every caller has been answered.
    """

    def end() -> None:
        log.warning("the grace period is over: ending, though not everything was finished")
        writer.close()
        os._exit(0)

    timer = threading.Timer(max(0.0, seconds - EXIT_SECONDS), end)
    timer.daemon = True
    timer.start()


def _examples(settings: Settings) -> Examples:
    return Examples(settings.models_dir, settings.model_name, settings.max_image_bytes)


def _http_server(
    core: Core, settings: Settings, telemetry: setup.Telemetry, around: Perimeter, operations: _Operations
) -> HttpServer:
    limits = UploadLimits(
        settings.max_image_bytes,
        settings.max_body_bytes,
        settings.max_images_per_request,
        settings.upload_timeout,
        settings.min_upload_rate,
    )
    metrics_text = telemetry.metrics_text
    app = create_app(
        core.service,
        core.health,
        limits,
        metrics_text,
        around,
        control=core.control,
        rollouts=core.rollouts,
        examples=_examples(settings) if settings.console else None,
        queues=operations.queues,
        audit=operations.audit,
        predict=settings.http,
    )
    return HttpServer(app, settings)
