"""`roo-vision top`: a running service's figures in the terminal, read from its `/metrics`."""

import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from app.errors import StartupError
from app.settings import Settings

PATIENCE_SECONDS = 5.0
STAGES = ("queue", "decode", "prepare", "compute", "finish")
QUANTILES = (0.5, 0.95, 0.99)
NOTHING = "-"

Labels = frozenset[tuple[str, str]]
Series = dict[Labels, float]


class Unreadable(Exception):
    """The metrics could not be read this time; the message says why, for people."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that `/metrics` said at the moment `at` (`time.monotonic`'s, in seconds)."""

    at: float
    series: Mapping[str, Series]

    def values(self, name: str, **wanted: str) -> list[float]:
        """Values of all series of that name with those labels."""
        return [value for labels, value in self.series.get(name, {}).items() if wanted.items() <= dict(labels).items()]

    def total(self, name: str, **wanted: str) -> float | None:
        """Their sum; None where there are none."""
        values = self.values(name, **wanted)
        return sum(values) if values else None

    def label(self, name: str, label: str) -> str:
        """What a label of that name's series says; "" where there are none."""
        return ", ".join(sorted({dict(labels).get(label, "") for labels in self.series.get(name, {})}))


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


@dataclass(frozen=True, slots=True)
class Interval:
    """What happened between two readings; with no reading before, since the service's start."""

    now: Reading
    before: Reading | None = None

    def growth(self, name: str, **wanted: str) -> Series:
        """How much each counter grew. One that fell was started anew at 0, so that all it shows is growth."""
        grown: Series = {}
        for labels, value in self.now.series.get(name, {}).items():
            if wanted.items() <= dict(labels).items():
                earlier = self.before.series.get(name, {}).get(labels, 0.0) if self.before else 0.0
                grown[labels] = value - earlier if value >= earlier else value
        return grown

    def rate(self, name: str, **wanted: str) -> float | None:
        """Growth a second; None without a reading before."""
        if self.before is None or self.now.at <= self.before.at:
            return None
        return sum(self.growth(name, **wanted).values()) / (self.now.at - self.before.at)

    def mean(self, name: str) -> float | None:
        """Mean of a histogram's new values; None where there are none."""
        count = sum(self.growth(f"{name}_count").values())
        return sum(self.growth(f"{name}_sum").values()) / count if count else None

    def quantile(self, share: float, name: str, **wanted: str) -> float | None:
        """Estimate a quantile of a histogram's new values, linear inside a bucket as Prometheus does."""
        buckets: dict[float, float] = defaultdict(float)
        for labels, value in self.growth(f"{name}_bucket", **wanted).items():
            buckets[float(dict(labels)["le"])] += value
        return quantile(share, sorted(buckets.items()))


def quantile(share: float, buckets: list[tuple[float, float]]) -> float | None:
    """A quantile from rising `(upper bound, cumulative count)`; None where nothing was counted.

    What lies above the last finite bound is said to be that bound, the least that it can be.
    """
    if not buckets or not buckets[-1][1]:
        return None
    rank = share * buckets[-1][1]
    lower, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= rank and count > below:
            return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / (count - below)
        if not math.isinf(bound):
            lower = bound
        below = count
    return lower


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
    now = interval.now
    ready = "[green]ready[/]" if now.total("roo_ready") else "[red]not ready[/]"
    since = "since its start" if interval.before is None else f"of the last {now.at - interval.before.at:.1f} s"
    title = Text.from_markup(f"[bold]Roo Vision[/] {ready}, figures {since}  ")
    title.append(f"{url}  {now.label('roo_device', 'device')}  {now.label('roo_model_info', 'model')}")
    tables = [_flow(interval), _latencies(interval), _core(interval)]
    if "roo_messages_held" in now.series:
        tables.append(_queue(interval))
    if "roo_gpu_utilization_ratio" in now.series:
        tables.append(_gpus(now))
    return Group(title, *tables)


def _flow(interval: Interval) -> Table:
    rows = [(f"pictures, {source}", interval.rate("roo_requests_total", source=source)) for source in ("http", "queue")]
    failed = sum(
        grown
        for labels, grown in interval.growth("roo_requests_total").items()
        if dict(labels)["outcome"] not in ("ok", "cancelled")
    )
    rows.append(("HTTP requests", interval.rate("http_server_request_duration_seconds_count")))
    table = Table("traffic", "a second")
    for name, value in rows:
        table.add_row(name, _number(value))
    table.add_row("pictures failed", f"{failed:.0f} (count)")
    return table


def _latencies(interval: Interval) -> Table:
    table = Table("latency", *(f"p{share * 100:.0f}" for share in QUANTILES))
    table.add_row("total", *(_seconds(interval.quantile(share, "roo_request_seconds")) for share in QUANTILES))
    for stage in STAGES:
        values = (interval.quantile(share, "roo_stage_seconds", stage=stage) for share in QUANTILES)
        table.add_row(stage, *map(_seconds, values))
    return table


def _core(interval: Interval) -> Table:
    now = interval.now
    fill = interval.mean("roo_batch_fill_ratio")
    limit = now.total("roo_memory_limit_bytes")
    memory = _bytes(now.total("process_memory_usage_bytes")) + (f" of {_bytes(limit)}" if limit else "")
    return _facts(
        "core",
        ("lanes", _number(now.total("roo_lanes"))),
        ("batch size, mean", _number(interval.mean("roo_batch_size"))),
        ("batch fill, mean", NOTHING if fill is None else f"{fill:.0%}"),
        ("waiting / in flight", f"{_number(now.total('roo_waiting'))} / {_number(now.total('roo_in_flight'))}"),
        ("oldest waiting", _seconds(now.total("roo_oldest_waiting_seconds"))),
        ("memory", memory),
    )


def _queue(interval: Interval) -> Table:
    now = interval.now
    return _facts(
        f"queue {now.label('roo_messages_held', 'queue')}",
        ("connected", "yes" if now.total("roo_queue_connected") else "[red]no[/]"),
        ("oldest message", _seconds(now.total("roo_oldest_message_seconds"))),
        ("held / credit", f"{_number(now.total('roo_messages_held'))} / {_number(now.total('roo_credit'))}"),
        ("waiting on the broker", _number(now.total("roo_queue_depth", state="active"))),
        ("settled a second", _number(interval.rate("roo_messages_total"))),
        ("locks lost", f"{sum(interval.growth('roo_locks_lost_total').values()):.0f} (count)"),
    )


def _gpus(now: Reading) -> Table:
    table = Table("GPU", "busy", "memory", "temperature", "power")
    for gpu in sorted({dict(labels)["gpu"] for labels in now.series["roo_gpu_utilization_ratio"]}):
        used, size = now.total("roo_gpu_memory_used_bytes", gpu=gpu), now.total("roo_gpu_memory_total_bytes", gpu=gpu)
        table.add_row(
            gpu,
            f"{now.total('roo_gpu_utilization_ratio', gpu=gpu) or 0.0:.0%}",
            f"{_bytes(used)} of {_bytes(size)}",
            f"{_number(now.total('roo_gpu_temperature_celsius', gpu=gpu))} °C",
            f"{_number(now.total('roo_gpu_power_watts', gpu=gpu))} W",
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
