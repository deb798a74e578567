"""`make demo-rollout`: a good version gets all the traffic, a bad one is taken back, and both are seen.

Service Bus in memory, the service with the bundled model in three versions, five hundred robots that send pictures all
the time. Version 2 is the same network again; version 3 finds next to nothing. What is drawn is what the service
was told, and who answered.
"""

import argparse
import asyncio
import itertools
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import onnx
import yaml
from onnx import helper, numpy_helper

from app.bench.demo import JOBS, RESULTS
from app.bench.plot import DPI, FAINT, INK, style
from app.bench.processes import Child, sigterm_as_exit
from app.devbus.broker import Broker
from app.devbus.limits import BrokerLimits
from app.host.process import environment_with
from app.servicebus.connection import Access
from app.servicebus.robot import Picture, Robot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODEL = Path(__file__).parents[1] / "models" / "shelf"
ROBOTS, PER_SECOND, SHADOWED = 500, 15.0, 80
STEPS, EVERY = "30,60,100", "4s"
GUARD = "error_ratio<1%,agreement>0.9"
DIMMED = 0.5
"""What the bad version makes of its scores, so that next to nothing reaches the threshold."""
COLOURS = {"1": "#8a9199", "2": "#1f6fb4", "3": "#d98032"}


@dataclass(slots=True)
class Seen:
    """By the second: the shares that were told, and who answered; and what was said of the roll-outs, and when."""

    shares: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    ends: list[tuple[float, str]] = field(default_factory=list)


def add_versions(root: Path) -> None:
    """The bundled model in `root`, in three versions of which the first answers."""
    folder = root / "shelf"
    for version in "123":
        (folder / version).mkdir(parents=True)
        shutil.copy(MODEL / "1" / "model.onnx", folder / version)
    dim(folder / "3" / "model.onnx")
    manifest = yaml.safe_load((MODEL / "model.yaml").read_text("utf-8"))
    del manifest["sha256"]
    manifest |= {"versions": ["1", "2", "3"], "precisions": ["fp32"], "traffic": {"1": 100}}
    manifest["detection"]["read_barcodes"] = False
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest), "utf-8")


def dim(path: Path) -> None:
    """Make a graph's scores `DIMMED` times as large."""
    model = onnx.load(path)
    graph = model.graph
    for node in graph.node:
        for place, name in enumerate(node.output):
            if name == "scores":
                node.output[place] = "bright"
    factor = numpy_helper.from_array(np.array(DIMMED, np.float32), "dimmed")
    graph.initializer.append(factor)
    graph.node.append(helper.make_node("Mul", ["bright", "dimmed"], ["scores"]))
    onnx.save(model, path)


def pictures() -> Iterator[Picture]:
    """One of the examples from one robot after the other, for ever."""
    contents = [path.read_bytes() for path in sorted((MODEL / "examples").glob("*.jpg"))]
    for number in itertools.count():
        robot = {"robot_id": f"robot-{number % ROBOTS}"}
        yield Picture(f"picture-{number}", contents[number % len(contents)], robot)


async def show(seconds: float, rate: float) -> Seen:
    """Run it all with `rate` pictures a second; `seconds` pass before, between and after the roll-outs."""
    broker = Broker([f"{JOBS},lock=30", f"{RESULTS},dedup=600"], limits=BrokerLimits(max_message_size=4 << 20))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        add_versions(root / "models")
        async with broker:
            environment = environment_with(
                ROO_SERVICEBUS_CONNECTION_STRING=broker.connection_string,
                ROO_QUEUE=JOBS,
                ROO_RESULTS_QUEUE=RESULTS,
                ROO_MODEL_CONTROL="open",
                ROO_CALIBRATE="false",
            )
            options = ["--host", "127.0.0.1", "--port", "0", "--models-dir", str(root / "models")]
            with Child("service", ["app", "serve", *options], root, environment=environment) as service:
                port, _ = await asyncio.to_thread(service.wait_until_ready, "/readyz")
                return await _watch(broker, f"http://127.0.0.1:{port}", seconds, rate)


async def _watch(broker: Broker, url: str, seconds: float, rate: float) -> Seen:
    seen, began = Seen(), time.monotonic()
    async with Robot(Access(None, broker.connection_string), JOBS, RESULTS) as robot, httpx.AsyncClient() as client:
        running = [
            asyncio.create_task(_send(robot, rate)),
            asyncio.create_task(_collect(robot, seen, began)),
            asyncio.create_task(_look(client, url, seen, began)),
        ]
        await asyncio.sleep(seconds)
        for version in ("2", "3"):
            shadow = {"shadow": {version: SHADOWED}}
            (await client.post(f"{url}/v1/models/shelf/traffic", json=shadow)).raise_for_status()
            said = await _roll_out(url, version)
            seen.ends.append((time.monotonic() - began, said))
            await asyncio.sleep(seconds)
        for task in running:
            task.cancel()
        for ended in await asyncio.gather(*running, return_exceptions=True):
            if not isinstance(ended, asyncio.CancelledError):
                raise RuntimeError("the demonstration ended early") from ended
    return seen


async def _roll_out(url: str, version: str) -> str:
    """`roo-vision rollout … --watch`, shown as it comes; returns its last line."""
    options = ["--to", version, "--steps", STEPS, "--every", EVERY, "--guard", GUARD, "--watch", "--url", url]
    print(f"$ roo-vision rollout shelf {' '.join(options[:-2])}", flush=True)  # noqa: T201
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "rollout", "shelf", *options, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    said = ""
    async for line in process.stdout:
        said = line.decode().rstrip()
        print(said, flush=True)  # noqa: T201
    await process.wait()
    return said


async def _send(robot: Robot, rate: float) -> None:
    async for _ in robot.send(pictures(), rate):
        pass


async def _collect(robot: Robot, seen: Seen, began: float) -> None:
    async for reply in robot.replies():
        seen.answers[int(time.monotonic() - began), str(reply.body["version"])] += 1


async def _look(client: httpx.AsyncClient, url: str, seen: Seen, began: float) -> None:
    while True:
        told = (await client.get(f"{url}/v1/models/shelf")).json()
        seen.shares.append((time.monotonic() - began, told["traffic"]))
        await asyncio.sleep(0.2)


def draw(seen: Seen, path: Path) -> None:
    """Write the plot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plot(seen).savefig(path, dpi=DPI)


def plot(seen: Seen) -> "Figure":
    """Lines are shares as they were told, dots are who answered in each second."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(style()):
        figure = Figure(figsize=(10.0, 4.0), layout="constrained")
        axes = figure.subplots()
        answered = Counter[int]()
        for (second, _), count in seen.answers.items():
            answered[second] += count
        for version, colour in COLOURS.items():
            moments = [moment for moment, _ in seen.shares]
            shares = [shares.get(version, 0.0) for _, shares in seen.shares]
            axes.step(moments, shares, where="post", color=colour, linewidth=2, label=f"version {version}")
            seconds = sorted(second for second in answered if second < moments[-1] - 1)
            dots = [100 * seen.answers[second, version] / answered[second] for second in seconds]
            axes.plot([second + 0.5 for second in seconds], dots, ".", color=colour, alpha=0.6)
        for moment, said in seen.ends:
            axes.axvline(moment, color=FAINT, zorder=0)
            # The last one's words lie behind it, the others' before theirs: it ends soon after them.
            side, away = ("left", 4) if moment == seen.ends[-1][0] else ("right", -4)
            axes.annotate(
                _wrapped(said),
                (moment, 50),
                xytext=(away, 0),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=7.5,
                color=INK,
            )
        axes.set_ylim(-3, 103)
        axes.set_xlabel("seconds")
        axes.set_ylabel("% of the pictures: — told, ● answered")
        figure.legend(loc="outside upper right", ncols=len(COLOURS), frameon=False)
        return figure


def _wrapped(said: str) -> str:
    phase, _, reason = said.partition(" (")
    return f"{phase.partition(', ')[0]}\n{reason.rstrip(')')}".strip().replace(", the limit", ",\nthe limit")


def main() -> None:
    """Run it, and draw what was seen."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=Path("out/rollout.png"), help="where the plot goes")
    options.add_argument("--rest", type=float, default=4.0, help="seconds before, between and after the roll-outs")
    options.add_argument("--rate", type=float, default=PER_SECOND, help="pictures a second; fewer on a busy machine")
    asked = options.parse_args()
    with sigterm_as_exit():
        seen = asyncio.run(show(asked.rest, asked.rate))
    draw(seen, asked.out)
    print(f"wrote {asked.out}")  # noqa: T201


if __name__ == "__main__":
    main()
