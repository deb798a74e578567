"""One engine at work: batches of pictures computed in threads, with their decoding or without, and no server around.

`python -m app.bench.engine_loop MODELS_DIR MODEL MOST` loads a model as the environment's settings say, for batches of
up to MOST whatever its manifest says, writes a line when it is ready, and then measures one slice for each line of JSON
on its standard input.
"""

import json
import sys
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from app.bench.measurements import Measurement, percentile
from app.core.model import Model
from app.core.request import AdmittedRequest, InferenceRequest
from app.engines.base import Array
from app.errors import StartupError
from app.loading import loader
from app.loading.serving import Serving
from app.repository import repository
from app.repository.manifest import Batching
from app.settings import load_settings
from app.vision import image
from app.vision.tasks import Options

UNREAD = Options(read_barcodes=False)
"""Barcodes are left unread in all measurements: what is compared is decoding, the network and its boxes."""

Part = Literal["whole", "prepare", "network"]
"""From a picture's bytes to its answer, or only to the network's input, or the network alone."""


@dataclass(frozen=True, slots=True)
class EngineTrial:
    """One slice: picture files, threads, pictures a batch, which part of the way, seconds."""

    pictures: list[str]
    threads: int
    batch: int
    part: Part
    warm_seconds: float
    seconds: float


@dataclass(slots=True)
class _Worker:
    """What one thread did inside the window: each batch's seconds, and the seconds of all."""

    latencies: list[float] = field(default_factory=list)
    elapsed: float = 0.0


def measure(model: Model, trial: EngineTrial) -> Measurement:
    """Answer batches in `trial.threads` threads; latencies are those of batches, the rate is of pictures."""
    pictures = [Path(path).read_bytes() for path in trial.pictures]
    opens = time.perf_counter() + trial.warm_seconds
    workers = [_Worker() for _ in range(trial.threads)]
    threads = [
        threading.Thread(target=_work, args=(model, pictures, trial, lane, opens, worker))
        for lane, worker in enumerate(workers)
    ]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, opens - time.perf_counter()))
    cpu, began = time.process_time(), time.perf_counter()
    for thread in threads:
        thread.join()
    latencies = [1e3 * seconds for worker in workers for seconds in worker.latencies]
    return Measurement(
        pictures=len(latencies) * trial.batch,
        per_second=sum(len(worker.latencies) * trial.batch / worker.elapsed for worker in workers if worker.latencies),
        p50_ms=percentile(latencies, 0.50),
        p99_ms=percentile(latencies, 0.99),
        window_seconds=time.perf_counter() - began,
        cpu_seconds=time.process_time() - cpu,
    )


def _work(model: Model, pictures: list[bytes], trial: EngineTrial, lane: int, opens: float, worker: _Worker) -> None:
    rows = model.empty_batch()[: trial.batch]
    requests = [InferenceRequest(data, request_id="", options=UNREAD) for data in pictures]
    turn, began = lane, None
    while (now := time.perf_counter()) < opens + trial.seconds:
        batch = [requests[(turn + place) % len(requests)] for place in range(trial.batch)]
        _STEPS[trial.part](model, rows, batch, lane)
        turn += trial.batch
        if now >= opens:
            began = began or now
            finished = time.perf_counter()
            worker.latencies.append(finished - now)
            worker.elapsed = finished - began


def _whole(model: Model, rows: Array, batch: list[InferenceRequest], lane: int) -> None:
    admitted = [AdmittedRequest(request, image.read_header(request.image)) for request in batch]
    placements = [model.prepare_row(item, row) for item, row in zip(admitted, rows, strict=True)]
    for output, placement, item in zip(model.compute(rows, lane), placements, admitted, strict=True):
        model.finish(output, placement, item)


def _prepare(model: Model, rows: Array, batch: list[InferenceRequest], lane: int) -> None:
    for request, row in zip(batch, rows, strict=True):
        model.prepare_row(AdmittedRequest(request, image.read_header(request.image)), row)


def _network(model: Model, rows: Array, batch: list[InferenceRequest], lane: int) -> None:
    model.compute(rows, lane)


_STEPS = {"whole": _whole, "prepare": _prepare, "network": _network}


def main(models_dir: str, name: str, most: str) -> None:
    """Load, say so, and measure a slice for each trial that comes in."""
    try:
        serving = Serving.of(load_settings(calibrate=False))
        entry = repository.read_entry(Path(models_dir) / name)
        manifest = entry.manifest.model_copy(update={"batching": Batching(max_size=int(most))})
        model = loader.load(replace(entry, manifest=manifest), serving)[-1]
    except StartupError as error:
        _say({"problem": str(error)})
        return
    described = {"engine": model.engine.name, "precision": model.engine.precision, "device": model.device.name}
    _say(described | {"lanes": serving.lanes, "most": model.max_batch_size})
    for line in sys.stdin:
        _say(asdict(measure(model, EngineTrial(**json.loads(line)))))


def _say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
