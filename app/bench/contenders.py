"""What is measured: the service, and whatever it is measured beside, each a process of its own."""

from pathlib import Path
from typing import Protocol

from app.bench import load
from app.bench.measurements import SERVICE, Measurement
from app.bench.pictures import Workload
from app.bench.processes import Child
from app.errors import StartupError

READY_PATH = "/readyz"


class Contender(Protocol):
    """One of those that answer the same pictures."""

    name: str
    child: Child

    def measure(self, workload: Workload, concurrency: int, warm_seconds: float, seconds: float) -> Measurement:
        """Answer the pictures over and over with so many in flight; raises `StartupError` where it has ended."""


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
    """Starts services for one model of one repository; their logs and files go into `folder`."""

    def __init__(self, models_dir: Path, model: str, device: str, predict_path: str, folder: Path) -> None:
        self.predict_path = predict_path
        self.served = (str(models_dir.absolute()), model, device)
        self.folder = folder

    def service(self) -> Child:
        """The service, on a free port; its other settings are the environment's."""
        models_dir, _, device = self.served
        options = ["--host", load.HOST, "--port", "0", "--models-dir", models_dir, "--device", device]
        return Child(SERVICE, ["app", "serve", *options], self.folder)

    def as_service(self, child: Child) -> Server:
        """Wait until the service is ready."""
        return Server(SERVICE, child, READY_PATH, self.predict_path)
