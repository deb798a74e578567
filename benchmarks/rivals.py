"""What the service is compared with, each a process of its own that answers the same pictures."""

import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from app.bench.contenders import Contender, Launcher, Server
from app.bench.measurements import Measurement
from app.bench.pictures import Workload
from app.bench.processes import Child
from benchmarks import naive
from benchmarks.plain_loop import LoopTrial

PLAIN, NAIVE = "plain loop", "naive endpoint"


class PlainLoop:
    """See `benchmarks.plain_loop`. It has a thread for each picture in flight, at most one a usable core."""

    name = PLAIN

    def __init__(self, child: Child, folder: Path) -> None:
        """`child` talks; the pictures are handed over as files in `folder`."""
        self.child = child
        self._folder = folder
        self._threads = int(json.loads(child.listen())["threads"])

    def measure(self, workload: Workload, concurrency: int, warm_seconds: float, seconds: float) -> Measurement:
        """One slice, measured by the child itself."""
        threads = min(concurrency, self._threads)
        trial = LoopTrial(self._files(workload), threads, warm_seconds, seconds)
        return Measurement(**json.loads(self.child.ask(json.dumps(asdict(trial)))))

    def _files(self, workload: Workload) -> list[str]:
        paths = [self._folder / f"{workload.size}-{index}.jpg" for index in range(len(workload.pictures))]
        for path, picture in zip(paths, workload.pictures, strict=True):
            if not path.exists():
                path.write_bytes(picture)
        return [str(path) for path in paths]


def start(launcher: Launcher, children: ExitStack) -> list[Contender]:
    """Start both for the launcher's model, side by side; they end with the stack."""
    endpoint, loop = (
        children.enter_context(Child(name, [module, *launcher.served], launcher.folder, talks=talks))
        for name, module, talks in ((NAIVE, "benchmarks.naive", False), (PLAIN, "benchmarks.plain_loop", True))
    )
    ready = Server(NAIVE, endpoint, naive.READY_PATH, naive.PREDICT_PATH)
    return [PlainLoop(loop, launcher.folder), ready]
