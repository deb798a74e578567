"""`roo-vision top`: a running service's figures in the terminal, read from its `/metrics`."""

import sys
import time
from collections import defaultdict
from collections.abc import Iterator

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from app.errors import StartupError
from app.settings import Settings
from app.telemetry.figures import QUANTILES, Core, Flow, Gpu, QueueFigures, figures
from app.telemetry.readings import Interval, Reading, Series

PATIENCE_SECONDS = 5.0
NOTHING = "-"


class Unreadable(Exception):
    """The metrics could not be read this time; the message says why, for people."""


def parse(text: str, at: float) -> Reading:
    """Read Prometheus text; raises `Unreadable` where it is something else."""
    series: dict[str, Series] = defaultdict(dict)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                series[sample.name][frozenset(sample.labels.items())] = sample.value
    except ValueError:
        raise Unreadable("what it answered at /metrics is not Prometheus text") from None
    if "roo_ready" not in series:
        raise Unreadable("what it answered at /metrics has no figure of Roo Vision in it: is this the right URL?")
    return Reading(at, series)


class Source:
    """Where the figures come from; closes its connection at the end of the `with` block."""

    def __init__(self, url: str, settings: Settings) -> None:
        key = {"x-api-key": settings.api_key.get_secret_value()} if settings.api_key else {}
        headers = {"accept": "text/plain;version=0.0.4", **key}
        try:
            self._client = httpx.Client(base_url=url, headers=headers, timeout=PATIENCE_SECONDS)
            scheme = self._client.base_url.scheme
        except httpx.InvalidURL:
            scheme = ""
        if scheme not in ("http", "https"):
            raise StartupError(f"--url must be a URL such as http://localhost:8000 (is {url!r}).")
        self.url = url

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def read(self) -> Reading:
        """Ask; raises `Unreadable`."""
        try:
            response = self._client.get("/metrics")
        except httpx.HTTPError as error:
            raise Unreadable(f"{self.url} cannot be asked: {error}") from None
        if response.status_code in (401, 403):
            raise Unreadable(f"{self.url} asks for a key ({response.status_code}): set ROO_API_KEY or --key")
        if response.is_error:
            raise Unreadable(f"{self.url}/metrics answered {response.status_code} {response.reason_phrase}")
        try:
            return parse(response.text, time.monotonic())
        except Unreadable as problem:
            raise Unreadable(f"{self.url}: {problem}") from None


def run(url: str, interval: float, settings: Settings, *, once: bool) -> bool:
    """Show the figures until Ctrl+C, or `once`, since the service's start; False where they could not be read then."""
    with Source(url, settings) as source:
        if once:
            return _show_once(source)
        with Live(console=Console(), auto_refresh=False, screen=sys.stdout.isatty()) as live:
            try:
                for picture in pictures(source, interval):
                    live.update(picture, refresh=True)
            except KeyboardInterrupt:
                pass  # this is how it is ended
    return True


def _show_once(source: Source) -> bool:
    try:
        Console().print(view(Interval(source.read()), source.url))
    except Unreadable as problem:
        sys.stderr.write(f"roo-vision: {problem}.\n")
        return False
    return True


def pictures(source: Source, interval: float) -> Iterator[RenderableType]:
    """What to show, every `interval` seconds. A service that is away is said, and asked again."""
    before: Reading | None = None
    while True:
        try:
            now = source.read()
            yield view(Interval(now, before), source.url)
            before = now
        except Unreadable as problem:
            yield Text(f"{problem}. Asking again every {interval:g} s.", style="red")
        time.sleep(interval)


def view(interval: Interval, url: str) -> RenderableType:
    """All tables of one moment."""
    now = figures(interval)
    ready = "[green]ready[/]" if now.ready else "[red]not ready[/]"
    since = "since its start" if now.seconds is None else f"of the last {now.seconds:.1f} s"
    title = Text.from_markup(f"[bold]Roo Vision[/] {ready}, figures {since}  ")
    title.append(f"{url}  {now.device}  {interval.now.label('roo_model_info', 'model')}")
    tables = [_flow(now.flow), _latencies(now.flow), _core(now.core), *map(_queue, now.queues)]
    if now.gpus:
        tables.append(_gpus(now.gpus))
    return Group(title, *tables)


def _flow(flow: Flow) -> Table:
    table = Table("traffic", "a second")
    for source, rate in flow.pictures.items():
        table.add_row(f"pictures, {source}", _number(rate))
    table.add_row("HTTP requests", _number(flow.http_requests))
    table.add_row("pictures failed", f"{flow.failed:.0f} (count)")
    return table


def _latencies(flow: Flow) -> Table:
    table = Table("latency", *(f"p{share * 100:.0f}" for share in QUANTILES))
    for name, values in flow.latency.items():
        table.add_row(name, *map(_seconds, values))
    return table


def _core(core: Core) -> Table:
    memory = _bytes(core.memory) + (f" of {_bytes(core.memory_limit)}" if core.memory_limit else "")
    return _facts(
        "core",
        ("lanes", _number(core.lanes)),
        ("batch size, mean", _number(core.batch_size)),
        ("batch fill, mean", NOTHING if core.batch_fill is None else f"{core.batch_fill:.0%}"),
        ("waiting / in flight", f"{_number(core.waiting)} / {_number(core.in_flight)}"),
        ("oldest waiting", _seconds(core.oldest_waiting)),
        ("memory", memory),
    )


def _queue(queue: QueueFigures) -> Table:
    return _facts(
        f"queue {queue.queue}",
        ("connected", "yes" if queue.connected else "[red]no[/]"),
        ("oldest message", _seconds(queue.oldest)),
        ("held / credit", f"{_number(queue.held)} / {_number(queue.credit)}"),
        ("waiting on the broker", _number(queue.waiting)),
        ("settled a second", _number(queue.settled)),
        ("locks lost", f"{queue.locks_lost:.0f} (count)"),
    )


def _gpus(found: list[Gpu]) -> Table:
    table = Table("GPU", "busy", "memory", "temperature", "power")
    for gpu in found:
        table.add_row(
            gpu.gpu,
            f"{gpu.busy:.0%}",
            f"{_bytes(gpu.memory)} of {_bytes(gpu.memory_total)}",
            f"{_number(gpu.temperature)} °C",
            f"{_number(gpu.power)} W",
        )
    return table


def _facts(title: str, *rows: tuple[str, str]) -> Table:
    table = Table(title, "")
    for row in rows:
        table.add_row(*row)
    return table


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}".removesuffix(".0")


def _seconds(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.1f} s"


def _bytes(value: float | None) -> str:
    return NOTHING if value is None else f"{value / 2**20:.0f} MiB"
