"""Everything that needs a GPU, in one go: the tests, the speed, how busy the device is.

    make gpu-check                                    writes docs/gpu-report.json
    python -m benchmarks.gpu_check --device cpu       the same steps without a GPU, to see that they work

It runs offline, from the repository, with what docs/gpu.md lists. Each step's failure is written into the report and
the others go on.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from app.bench import machine, pictures
from app.bench.engine_loop import EngineTrial, Part, measure
from app.core.model import Model
from app.engines import catalog
from app.engines.base import EngineName
from app.engines.devices import Device
from app.loading import decode_placement, loader
from app.loading.serving import Serving, choose_device
from app.repository import repository
from app.repository.manifest import Batching
from benchmarks import naive
from benchmarks.device_path import PARTS, DeviceLoop

console = Console()

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "docs" / "gpu-report.json"
SHELF = ROOT / "models" / "shelf"
BATCHES = (1, 8, 16, 32, 64)
DEVICE_BATCHES = {"cuda": (1, 8, 32, 64), "cpu": (1, 8)}
AIMS = {"whole_to_slower_part": 0.90, "whole_to_naive": 5.0, "device_busy": 0.85, "alone_p50_ms": 10.0}


def main() -> None:
    """Run every step and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try the steps")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a slice")
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args()
    report: dict[str, Any] = {"machine": asdict(machine.describe()), "device": _device(), "aims": AIMS}
    with tempfile.TemporaryDirectory(prefix="roo-gpu-") as scratch:
        models = _repository(Path(scratch))
        steps: dict[str, Callable[[], Any]] = {"tests": lambda: _tests(options.device, Path(scratch))}
        for engine in _engines(options.device):
            steps[f"speed of {engine}"] = partial(
                _speed, engine, models, options.device, options.seconds, Path(scratch)
            )
        for name, step in steps.items():
            console.print(f"{name} …")
            try:
                report[name] = step()
            except Exception:  # the report is what one comes back with: a step that fails must not cost the others
                report[name] = {"failed": traceback.format_exc().splitlines()[-12:]}
            options.report.write_text(json.dumps(report, indent=1) + "\n")
            console.print_json(json.dumps(report[name]))


def _device() -> dict[str, Any]:
    if find_spec("torch") is None:
        return {"torch": None}
    import torch

    found: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": []}
    if torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_properties(index).name for index in range(torch.cuda.device_count())]
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        with contextlib.suppress(OSError):
            found["driver"] = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()
    return found


def _repository(scratch: Path) -> Path:
    """The bundled model as ONNX and as a PyTorch program, which is exported here from its weights."""
    import shutil

    target = scratch / "models" / "shelf"
    shutil.copytree(SHELF, target, ignore=shutil.ignore_patterns("training", "docs", "*.pt"))
    manifest = target / "model.yaml"
    lines = [line for line in manifest.read_text().splitlines() if not line.startswith("sha256")]
    manifest.write_text("\n".join(lines) + "\n")
    if find_spec("torch") is not None:
        import torch

        from models.shelf.training.export import Deployed, fuse
        from models.shelf.training.network import Detector

        model = Detector()
        model.load_state_dict(torch.load(SHELF / "weights.pt", weights_only=True)["average"])
        spec = repository.read_entry(target).manifest.input
        assert spec is not None
        images = torch.zeros(2, 3, spec.size.height, spec.size.width)
        dynamic = {"images": {0: torch.export.Dim("batch", min=1, max=max(BATCHES))}}
        program = torch.export.export(Deployed(fuse(model)).eval(), (images,), dynamic_shapes=dynamic)
        torch.export.save(program, target / "1" / "model.pt2")
    return scratch / "models"


def _engines(device: str) -> list[EngineName]:
    """Those that can use the device here."""
    wanted: list[EngineName] = ["torch", "onnx"] if device == "cpu" else ["torch", "onnx", "tensorrt"]
    installed = [engine for engine in wanted if engine != "torch" or find_spec("torch") is not None]
    return [engine for engine in installed if device == "cpu" or catalog.cuda_problem(engine) is None]


def _tests(device: str, scratch: Path) -> dict[str, Any]:
    """The engine tests; with a GPU those that are marked `gpu`, none of which may be skipped."""
    marks = [] if device == "cpu" else ["-m", "gpu"]
    found = scratch / "tests.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *marks,
        f"--junitxml={found}",
        "tests/engines",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    suite = ElementTree.parse(found).getroot().find("testsuite")
    assert suite is not None
    counts = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
    return counts | {"rc": done.returncode, "tail": done.stdout.splitlines()[-15:]}


def _speed(engine: EngineName, models: Path, device: str, seconds: float, scratch: Path) -> dict[str, Any]:
    entry = repository.read_entry(models / "shelf")
    entry = replace(entry, manifest=entry.manifest.model_copy(update={"batching": Batching(max_size=max(BATCHES))}))
    chosen = choose_device(device, engine)
    precision = catalog.precisions(engine, chosen)[0]
    cores = machine.describe().cores
    (model,) = loader.load(entry, Serving(chosen, engine=engine, precision=precision, lanes=cores))
    decoding = asdict(model.decoding)  # what the service would do here, by its own trial
    files = _files(models / "shelf", scratch)

    def rate(part: Part, threads: int, batch: int) -> dict[str, float]:
        found = measure(model, EngineTrial(files, threads, batch, part, 0.5, seconds))
        return {"per_second": found.per_second, "p50_ms": found.p50_ms, "cpu_seconds": found.cpu_seconds}

    prepare = rate("prepare", cores, 8)
    curve = {
        batch: {"whole": rate("whole", cores, batch), "network": rate("network", min(2, cores), batch)}
        for batch in BATCHES
    }
    best = max(BATCHES, key=lambda batch: curve[batch]["whole"]["per_second"])
    whole = curve[best]["whole"]["per_second"]
    network = max(point["network"]["per_second"] for point in curve.values())
    slower = min(prepare["per_second"], network)
    one_by_one = _naive_rate(model, files, seconds)
    found = {
        "precision": precision,
        "device": chosen.name,
        "prepare_alone": prepare,
        "batches": curve,
        "best_batch": best,
        "alone_p50_ms": rate("whole", 1, 1)["p50_ms"],
        "naive_per_second": one_by_one,
        "whole_to_slower_part": whole / slower,
        "whole_to_naive": whole / one_by_one,
        "device_busy": _busy(lambda: measure(model, EngineTrial(files, cores, best, "whole", 0.5, seconds)), chosen),
        "decoding": decoding,
        "on_device": _on_device(model, chosen, files, seconds, network, one_by_one),
    }
    model.close()
    return found


def _on_device(
    model: Model, chosen: Device, files: list[str], seconds: float, network: float, one_by_one: float
) -> dict[str, Any]:
    """The same with pictures decoded and prepared on the device. Finishing (suppression) stays on the CPU's cores."""
    if find_spec("torch") is None or find_spec("torchvision") is None:
        return {"missing": "torch or torchvision is not installed"}
    import torch

    if chosen.kind == "cuda" and not torch.cuda.is_available():
        return {"missing": "this PyTorch finds no GPU"}
    batches = DEVICE_BATCHES[chosen.kind]
    loop = DeviceLoop(
        model, torch.device("cuda", chosen.index) if chosen.kind == "cuda" else torch.device("cpu"), files
    )
    curve = {batch: {part: asdict(loop.measure(part, batch, seconds)) for part in PARTS} for batch in batches}
    best = max(batches, key=lambda batch: curve[batch]["whole"]["per_second"])
    whole = curve[best]["whole"]["per_second"]
    decode = max(point["decode"]["per_second"] for point in curve.values())
    return {
        "batches": curve,
        "best_batch": best,
        "alone_p50_ms": loop.measure("whole", 1, seconds, threads=1).p50_ms,
        "whole_to_slower_part": whole / min(decode, network),
        "whole_to_naive": whole / one_by_one,
        "device_busy": _busy(lambda: loop.measure("whole", best, seconds), chosen),
        "levels_from_cpu": decode_placement.disagreement(model, loop.path),
    }


def _files(model_folder: Path, scratch: Path) -> list[str]:
    workload = pictures.workloads(model_folder, 8)[0]
    paths = [scratch / f"{index}.jpg" for index in range(len(workload.pictures))]
    for path, picture in zip(paths, workload.pictures, strict=True):
        path.write_bytes(picture)
    return [str(path) for path in paths]


def _naive_rate(model: Model, files: list[str], seconds: float) -> float:
    """What people write first: Pillow decodes, one picture at a time goes to the device."""
    contents = [Path(path).read_bytes() for path in files]
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        row, _ = naive.prepare(contents[len(times) % len(contents)], model.input_spec)
        model.compute(row[None])
        times.append(time.perf_counter() - began)
    return 1.0 / statistics.mean(times[1:] or times)


def _busy(work: Callable[[], object], chosen: Device) -> float | None:
    """The share of the time in which a kernel or a copy ran on the device, by PyTorch's profiler."""
    if find_spec("torch") is None or chosen.kind == "cpu":
        return None
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        began = time.perf_counter()
        work()
        seconds = time.perf_counter() - began
    spans = sorted((event.time_range.start, event.time_range.end) for event in profiled.events() if event.device_time)
    return _covered(spans) / 1e6 / seconds


def _covered(spans: list[tuple[float, float]]) -> float:
    """The length of the union of intervals that are sorted by their start."""
    covered, reached = 0.0, float("-inf")
    for start, end in spans:
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered


if __name__ == "__main__":
    main()
