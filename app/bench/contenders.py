"""The three that are compared, each a process of its own that answers the same pictures."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from app.bench import load, naive
from app.bench.measurements import NAIVE, PLAIN, SERVICE, Measurement
from app.bench.pictures import Workload
from app.bench.plain_loop import Order
from app.bench.processes import Child
from app.errors import StartupError

READY_PATH = "/readyz"


class Contender(Protocol):
    """One of the compared."""

    name: str
    child: Child

    def measure(self, workload: Workload, concurrency: int, warm_seconds: float, seconds: float) -> Measurement:
        """Answer the pictures over and over with so many in flight; raises `StartupError` where it has ended."""


class PlainLoop:
    """See `app.bench.plain_loop`. It has a thread for each picture in flight, at most one a usable core."""

    name = PLAIN

    def __init__(self, child: Child, folder: Path) -> None:
        """`child` talks; the pictures are handed over as files in `folder`."""
        self.child = child
        self._folder = folder
        self._threads = int(json.loads(child.listen())["threads"])

    def measure(self, workload: Workload, concurrency: int, warm_seconds: float, seconds: float) -> Measurement:
        """One slice, measured by the child itself."""
        threads = min(concurrency, self._threads)
        order = Order(self._files(workload), threads, warm_seconds, seconds)
        return Measurement(**json.loads(self.child.ask(json.dumps(asdict(order)))))

    def _files(self, workload: Workload) -> list[str]:
        paths = [self._folder / f"{workload.size}-{index}.jpg" for index in range(len(workload.pictures))]
        for path, picture in zip(paths, workload.pictures, strict=True):
            if not path.exists():
                path.write_bytes(picture)
        return [str(path) for path in paths]


class Server:
    """A process that takes raw JPEG bodies over HTTP.

    `ready_seconds` is the time from its start to its first good probe, `ready_mb` its resident memory then.
    """

    def __init__(self, name: str, child: Child, ready_path: str, predict_path: str) -> None:
        self.name = name
        self.child = child
        self.port, self.ready_seconds = child.wait_until_ready(ready_path)
        self.ready_mb = child.resident_mb()
        self.predict_path = predict_path

    def measure(self, workload: Workload, concurrency: int, warm_seconds: float, seconds: float) -> Measurement:
        """One slice of a closed loop of keep-alive connections."""
        requests = [load.post(self.predict_path, "image/jpeg", picture) for picture in workload.pictures]
        target = load.Target(self.port, self.child.cpu_seconds)
        try:
            measured = load.press(target, requests, concurrency, warm_seconds, seconds)
        except StartupError:
            self.child.check_alive()  # where it has ended, its log says more
            raise
        self.child.check_alive()
        return measured


class Launcher:
    """Starts contenders for one model of one repository; their logs and files go into `folder`."""

    def __init__(self, models_dir: Path, model: str, device: str, predict_path: str, folder: Path) -> None:
        self.predict_path = predict_path
        self._served = [str(models_dir.absolute()), model, device]
        self._folder = folder

    def plain_loop(self) -> Child:
        """The child for `PlainLoop`."""
        return Child(PLAIN, ["app.bench.plain_loop", *self._served], self._folder, talks=True)

    def naive(self) -> Child:
        """The child for the naive endpoint."""
        return Child(NAIVE, ["app.bench.naive", *self._served], self._folder)

    def service(self) -> Child:
        """The child for the service, on a free port; its other settings are the environment's."""
        models_dir, _, device = self._served
        options = ["--host", load.HOST, "--port", "0", "--models-dir", models_dir, "--device", device]
        return Child(SERVICE, ["app", "serve", *options], self._folder)

    def as_plain_loop(self, child: Child) -> PlainLoop:
        """Wait until the plain loop has loaded its model."""
        return PlainLoop(child, self._folder)

    def as_naive(self, child: Child) -> Server:
        """Wait until the naive endpoint answers."""
        return Server(NAIVE, child, naive.READY_PATH, naive.PREDICT_PATH)

    def as_service(self, child: Child) -> Server:
        """Wait until the service is ready."""
        return Server(SERVICE, child, READY_PATH, self.predict_path)
