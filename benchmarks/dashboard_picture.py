"""Draw `docs/images/dashboard.png`: the dashboard's panels from a real Prometheus (`make dashboard-picture`).

A service with the bundled model in two versions that share the traffic, and a worse one that is tried unsent, is asked
over HTTP and over a queue, in waves and now and then badly, while Prometheus looks at it every second. What the panels'
expressions then give is drawn as Grafana lays them out.
"""

import asyncio
import math
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from azure.servicebus import ServiceBusMessage

from app.bench.plot import FAINT, INK, style
from app.devbus.broker import Broker
from benchmarks.rollout_demo import add_versions
from tests.e2e.test_prometheus import DASHBOARD, VARIABLES, prometheus
from tests.e2e.test_queue import working
from tests.fixtures.queue import put

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError:
    raise SystemExit("The picture needs matplotlib: pip install 'roo-vision[bench]'.") from None

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "images" / "dashboard.png"
PICTURE = (ROOT / "models" / "shelf" / "examples" / "shelf-1.jpg").read_bytes()
SECONDS, WAVE_SECONDS, AT_ONCE, STEP = 60.0, 20.0, 12, 2
TRAFFIC = "traffic: {1: 80, 2: 20}\nshadow: {2: 30, 3: 30}\n"
COLOURS = ("#1f6fb4", "#d98032", "#3a9a5b", "#a3488f", "#8a9199", "#c2b21f", "#555555")
WITHOUT = "GPU"
"""The row that only a machine with a GPU fills."""


async def main() -> None:
    """Serve, ask, look, draw."""
    with tempfile.TemporaryDirectory() as folder:
        async with Broker(["jobs,lock=60", "results,dedup=600"]) as broker:
            models = Path(folder) / "models"
            add_versions(models)
            (models / "shelf" / "traffic.yaml").write_text(TRAFFIC)
            with working(models, broker) as server, prometheus(server.port, Path(folder)) as seen:
                began = time.time()
                await asyncio.gather(asyncio.to_thread(_people, server.url, began), _robots(broker, began))
                _draw(seen, began + 5, time.time())


def _wave(began: float) -> bool:
    """Whether it is busy: every other third of a minute."""
    return int((time.time() - began) / WAVE_SECONDS) % 2 == 0


def _people(url: str, began: float) -> None:
    def ask(number: int) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while time.time() < began + SECONDS:
                if number < 2 or _wave(began):
                    client.post("/v1/predict?read_barcodes=false", content=PICTURE)
                    if number == 0:
                        client.post("/v1/predict", content=b"no picture")
                else:
                    time.sleep(0.2)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(ask, range(AT_ONCE)))


async def _robots(broker: Broker, began: float) -> None:
    number = 0
    while time.time() < began + SECONDS:
        number += 1
        many = range(16 if _wave(began) else 3)
        good = [ServiceBusMessage(PICTURE, content_type="image/jpeg", message_id=f"{number}-{place}") for place in many]
        bad = ServiceBusMessage(b"no picture", content_type="image/jpeg", message_id=f"{number}-bad")
        await put(broker, [*good, bad] if number % 5 == 0 else good)
        await asyncio.sleep(1)


def _draw(seen: httpx.Client, start: float, end: float) -> None:
    rows = list(_rows())
    with mpl.rc_context({**style(), "font.size": 7.5}):
        heights = [0.62 if panels[0]["type"] == "stat" else 1.0 for _, panels in rows]
        figure = Figure(figsize=(17, 2.35 * sum(heights)), layout="constrained")
        parts: Any = figure.subfigures(len(rows), height_ratios=heights)
        for part, (title, panels) in zip(parts, rows, strict=True):
            part.suptitle(title, x=0.004, ha="left", fontweight="bold", fontsize=10)
            for axes, panel in zip(part.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
                _panel(axes, panel, seen, start, end)
        figure.savefig(TARGET, dpi=100)


def _rows() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    title, panels = "", list[dict[str, Any]]()
    for panel in [*DASHBOARD["panels"], {"type": "row", "title": ""}]:
        if panel["type"] != "row":
            panels.append(panel)
            continue
        if panels and title != WITHOUT:
            yield title, panels
        title, panels = panel["title"], []


def _panel(axes: Axes, panel: dict[str, Any], seen: httpx.Client, start: float, end: float) -> None:
    axes.set_title(panel["title"], loc="left", fontsize=8)
    curves = [curve for target in panel["targets"] for curve in _curves(target, seen, start, end)]
    unit = panel["fieldConfig"]["defaults"]["unit"]
    if panel["type"] == "stat":
        last = curves[-1][2][-1] if curves else math.nan
        axes.axis("off")
        axes.text(0.5, 0.45, _words(last, unit), ha="center", va="center", fontsize=20, color=COLOURS[0])
        return
    scale = 2**20 if unit == "bytes" else 0.01 if unit == "percentunit" else 1
    for colour, (name, times, values) in zip(COLOURS * 3, curves, strict=False):
        axes.plot(times, [value / scale for value in values], color=colour, linewidth=1.3, label=name)
    axes.set_ylim(bottom=0)
    axes.tick_params(length=0)
    shown = {"s": "s", "bytes": "MiB", "percentunit": "%", "reqps": "/s"}.get(unit, "")
    axes.set_ylabel(shown, color=INK)
    axes.legend(loc="upper left", fontsize=6.5, frameon=True, edgecolor=FAINT, framealpha=0.7)


def _curves(
    target: dict[str, str], seen: httpx.Client, start: float, end: float
) -> Iterator[tuple[str, list[float], list[float]]]:
    """Name, seconds since the start and values of each curve of a panel."""
    expression, legend = target["expr"], target["legendFormat"]
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    asked: dict[str, str | float] = {"query": expression, "start": start, "end": end, "step": STEP}
    for series in seen.get("/api/v1/query_range", params=asked).json()["data"]["result"]:
        name = legend
        for label, value in series["metric"].items():
            name = name.replace("{{" + label + "}}", value)
        times = [float(moment) - start for moment, _ in series["values"]]
        yield name, times, [float(value) for _, value in series["values"]]


def _words(value: float, unit: str) -> str:
    if math.isnan(value):
        return "-"
    if unit == "s":
        return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.1f} s"
    return f"{value:.0f}" + (" /s" if unit == "reqps" else "")


if __name__ == "__main__":
    asyncio.run(main())
