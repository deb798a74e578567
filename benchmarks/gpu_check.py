"""Everything that needs a GPU, in parts of at most five minutes, the most telling first.

    make gpu-check                                            writes docs/gpu-report.json
    python -m benchmarks.gpu_check --part "picture path"      one part alone
    python -m benchmarks.gpu_check --device cpu --quick       the same steps without a GPU, to see that they work

It runs offline, from the repository, with what docs/gpu.md lists. Each part is a process of its own: one that fails,
hangs or loses the device does not cost the others. The report is whole at any moment, also where the run is cut off.
"""

import argparse
import contextlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from app.bench import machine
from app.bench.processes import Child, sigterm_as_exit
from app.engines import catalog
from app.engines.base import EngineName
from app.errors import EngineUnavailable
from benchmarks.gpu_report import Report

console = Console()

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "docs" / "gpu-report.json"
LIMIT_SECONDS = 300.0
POLL_SECONDS = 0.2
AIMS = {"whole_to_slower_part": 0.90, "whole_to_naive": 5.0, "device_busy": 0.85, "alone_p50_ms": 10.0}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the check: its name in `gpu_parts.PARTS`, and the engine it is about, if it is about one."""

    kind: str
    engine: EngineName | None = None

    @property
    def name(self) -> str:
        """As the report calls it."""
        return self.kind if self.engine is None else f"{self.kind}, {self.engine}"


def main() -> int:
    """Run the parts and write the report; 0 where all are done, 1 where one failed or was cut off."""
    options = _options()
    engines, left_out = _engines(options.device)
    parts = [part for part in order(engines) if not options.part or part.kind in options.part]
    head = {"machine": asdict(machine.describe()), "device": _device(), "aims": AIMS, "left_out": left_out}
    report = Report(options.report, head, [part.name for part in parts])
    with sigterm_as_exit(), tempfile.TemporaryDirectory(prefix="roo-gpu-") as scratch:
        for part in parts:
            console.print(f"{part.name} …")
            _run(part, options, report, Path(scratch))
            console.print_json(json.dumps(report.part(part.name)))
    return 0 if len(report.named("done")) == len(parts) else 1


def order(engines: list[EngineName]) -> list[Part]:
    """All parts, the most telling first: does it compute rightly, see rightly, where is the limit, what is carried."""
    speeds = [Part(kind, engine) for engine in engines for kind in ("network against decode", "one process's ceiling")]
    return [Part("contract tests"), Part("picture path"), *speeds, Part("other tests")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try the steps")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a slice")
    parser.add_argument("--quick", action="store_true", help="short slices and few batch sizes: shows that it works")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds after which a part is cut off")
    parser.add_argument("--part", action="append", choices=list(dict.fromkeys(part.kind for part in order(["torch"]))))
    parser.add_argument("--report", type=Path, default=REPORT)
    return parser.parse_args()


def _run(part: Part, options: argparse.Namespace, report: Report, scratch: Path) -> None:
    """Run one part to its end, or to its limit; what it found until then is in the report, even where this is cut."""
    found = scratch / "found.json"
    found.unlink(missing_ok=True)
    report.begin(part.name)
    until = time.monotonic() + options.limit
    try:
        with Child(part.kind, _command(part, options, found), scratch, cwd=ROOT) as child:
            while (code := child.ended_with()) is None and time.monotonic() < until:
                report.update(part.name, "running", _read(found))
                time.sleep(POLL_SECONDS)
    except BaseException:
        report.update(part.name, "cut off", _read(found) | {"why": "the run was cut off"})
        raise
    if code is None:
        report.update(part.name, "cut off", _read(found) | {"why": f"it took longer than {options.limit:g} s"})
    elif code != 0:
        report.update(part.name, "failed", _read(found) | {"why": child.log().splitlines()})
    else:
        report.update(part.name, "done", _read(found))


def _command(part: Part, options: argparse.Namespace, found: Path) -> list[str]:
    quick = ["--quick"] if options.quick else []
    engine = [] if part.engine is None else ["--engine", part.engine]
    return [
        "benchmarks.gpu_parts",
        part.kind,
        *("--device", options.device),
        *("--seconds", str(options.seconds)),
        *("--found", str(found)),
        *engine,
        *quick,
    ]


def _read(found: Path) -> dict[str, Any]:
    return dict(json.loads(found.read_text())) if found.exists() else {}


def _engines(device: str) -> tuple[list[EngineName], dict[str, str]]:
    """Those that can use the device here, and why the others cannot."""
    wanted: list[EngineName] = ["torch", "onnx"] if device == "cpu" else ["torch", "onnx", "tensorrt"]
    problems = {engine: _problem(engine, device) for engine in wanted}
    usable = [engine for engine, problem in problems.items() if problem is None]
    return usable, {engine: problem for engine, problem in problems.items() if problem is not None}


def _problem(engine: EngineName, device: str) -> str | None:
    if engine == "torch" and importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed"
    try:
        return None if device == "cpu" else catalog.cuda_problem(engine)
    except EngineUnavailable as error:
        return str(error)


def _device() -> dict[str, Any]:
    if importlib.util.find_spec("torch") is None:
        return {"torch": None}
    import torch

    found: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": []}
    if torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_properties(index).name for index in range(torch.cuda.device_count())]
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        with contextlib.suppress(OSError):
            found["driver"] = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()
    return found


if __name__ == "__main__":
    sys.exit(main())
