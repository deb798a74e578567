"""The ceiling: the service's own decode, preprocess, session and finish, a thread a core, and no server around them.

`python -m benchmarks.plain_loop MODELS_DIR MODEL DEVICE` loads one model as serving would, writes a line when it is
ready, and then measures one slice for each line of JSON on its standard input. It is a process of its own so that it
shares an interpreter with nothing, and it stays for the whole run, asleep between slices.
"""

import json
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from app.bench.engine_loop import UNREAD
from app.bench.measurements import Measurement, percentile
from app.core.model import Model
from app.core.request import AdmittedRequest, InferenceRequest
from app.host.process import usable_cores
from app.loading import loader
from app.loading.serving import Serving
from app.repository import repository
from app.settings import load_settings
from app.vision import image


@dataclass(frozen=True, slots=True)
class LoopTrial:
    """One slice: picture files, threads, seconds before the window opens, seconds of the window."""

    pictures: list[str]
    threads: int
    warm_seconds: float
    seconds: float


@dataclass(slots=True)
class _Worker:
    """What one thread did inside the window: each picture's seconds, and the seconds of all."""

    latencies: list[float]
    elapsed: float = 0.0


def measure(model: Model, trial: LoopTrial) -> Measurement:
    """Answer pictures one by one in `trial.threads` threads; the rate is the sum of the threads' own rates."""
    pictures = [Path(path).read_bytes() for path in trial.pictures]
    opens = time.perf_counter() + trial.warm_seconds
    workers = [_Worker([]) for _ in range(trial.threads)]
    threads = [
        threading.Thread(target=_work, args=(model, pictures[index:] + pictures[:index], opens, trial.seconds, worker))
        for index, worker in enumerate(workers)
    ]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, opens - time.perf_counter()))
    cpu, began = time.process_time(), time.perf_counter()
    for thread in threads:
        thread.join()
    latencies = [1e3 * seconds for worker in workers for seconds in worker.latencies]
    return Measurement(
        pictures=len(latencies),
        per_second=sum(len(worker.latencies) / worker.elapsed for worker in workers if worker.latencies),
        p50_ms=percentile(latencies, 0.50),
        p99_ms=percentile(latencies, 0.99),
        window_seconds=time.perf_counter() - began,
        cpu_seconds=time.process_time() - cpu,
    )


def _work(model: Model, pictures: list[bytes], opens: float, seconds: float, worker: _Worker) -> None:
    row = model.empty_batch()[:1]
    turn = 0
    began = None
    while (now := time.perf_counter()) < opens + seconds:
        request = InferenceRequest(pictures[turn % len(pictures)], request_id="", options=UNREAD)
        admitted = AdmittedRequest(request, image.read_header(request.image))
        placement = model.prepare_row(admitted, row[0])
        model.finish(model.compute(row)[0], placement, admitted)
        turn += 1
        if now >= opens:
            began = began or now
            finished = time.perf_counter()
            worker.latencies.append(finished - now)
            worker.elapsed = finished - began


def main(models_dir: str, name: str, device: str) -> None:
    """Load, say so, and measure a slice for each trial that comes in."""
    entry = repository.read_entry(Path(models_dir) / name)
    model = loader.load(entry, Serving.of(load_settings(device=device, max_batch=1)))[-1]
    _say({"ready": repr(model), "threads": usable_cores()})
    for line in sys.stdin:
        _say(asdict(measure(model, LoopTrial(**json.loads(line)))))


def _say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
