"""The parts of `gpu_check`, each run as a process of its own: `python -m benchmarks.gpu_parts PART --found FILE …`.

What a part finds it notes at once, so that nothing is lost where it is cut off.
"""

import argparse
import math
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.bench import machine, pictures
from app.bench.contenders import READY_PATH, Server
from app.bench.engine_loop import EngineTrial, measure
from app.bench.engine_loop import Part as Stretch
from app.bench.load import HOST
from app.bench.pictures import Workload
from app.bench.processes import Child, sigterm_as_exit
from app.core.model import Model
from app.engines import catalog
from app.engines.base import EngineName
from app.engines.devices import Device
from app.errors import RooError
from app.host.process import environment_with
from app.loading import decode_placement, loader
from app.loading.serving import Serving, choose_device
from app.repository import repository
from benchmarks.device_path import DeviceLoop
from benchmarks.gpu_report import Findings
from benchmarks.gpu_speed import busy, naive_rate

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[1]
SHELF = ROOT / "models" / "shelf"
TESTS = ROOT / "tests" / "engines"
PICTURE_TESTS = ("test_device_preprocessing.py", "test_device_path.py", "test_shelf_on_device.py")
MOST = 64
PREDICT = "/v1/predict?read_barcodes=false"


@dataclass(frozen=True, slots=True)
class Setting:
    """What all parts are told; `scratch` is a folder that they share."""

    device: str
    engine: EngineName
    seconds: float
    quick: bool
    scratch: Path

    @property
    def batches(self) -> tuple[int, ...]:
        """Batch sizes, the most telling first: where there is time for one only, it is that one."""
        return (1, 4) if self.quick else (32, MOST, 1, 8, 16)

    @property
    def flights(self) -> tuple[int, ...]:
        """Requests in flight."""
        return (2,) if self.quick else (MOST, 256, 1, 8)

    @property
    def threads(self) -> int:
        """Lanes: one a core."""
        return machine.describe().cores


def contract_tests(setting: Setting, findings: Findings) -> None:
    """Every engine does on the device what every engine must do."""
    _pytest(setting, findings, [TESTS / "test_contract.py"])


def picture_path(setting: Setting, findings: Findings) -> None:
    """What is decoded and prepared on the device is what the CPU makes of it."""
    _pytest(setting, findings, [TESTS / name for name in PICTURE_TESTS])


def other_tests(setting: Setting, findings: Findings) -> None:
    """The rest of the engines' tests."""
    before = {"test_contract.py", *PICTURE_TESTS}
    _pytest(setting, findings, [path for path in sorted(TESTS.glob("test_*.py")) if path.name not in before])


class _Counting:
    """A plugin of pytest that notes each outcome as it comes."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self.outcomes: Counter[str] = Counter(passed=0, failed=0, skipped=0)
        self._failed: list[str] = []
        self._reasons: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: "pytest.TestReport") -> None:
        if report.when != "call" and report.passed:
            return
        self.outcomes[report.outcome] += 1
        if report.failed:
            self._failed.append(f"{report.nodeid}: {str(report.longrepr).splitlines()[-1]}")
        if report.skipped and isinstance(report.longrepr, tuple):
            self._reasons[report.longrepr[2]] += 1
        self._findings.note(**self.outcomes, failures=self._failed, skipped_because=self._reasons)


def _pytest(setting: Setting, findings: Findings, files: list[Path]) -> None:
    import pytest

    counting = _Counting(findings)
    marks = [] if setting.device == "cpu" else ["-m", "gpu"]
    imported = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # pytest's plugins use what the parts use
    code = pytest.main(["-q", "-p", "no:cacheprovider", *imported, *marks, *map(str, files)], plugins=[counting])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(f"pytest ended with {code!r}")
    if not counting.outcomes["passed"]:
        raise SystemExit("none of these tests could run here")


def network_against_decode(setting: Setting, findings: Findings) -> None:
    """Each by itself, in pictures a second: the network, the CPU's cores before it, and the GPU's decoder."""
    model = _model(setting, findings)
    files = _files(setting)
    loop = _device_loop(setting, model, files, findings)
    findings.note(prepare_on_cpu=_rate(model, setting, files, "prepare", 8, setting.threads))
    network: dict[int, Any] = {}
    decode: dict[int, Any] = {}
    prepare: dict[int, Any] = {}
    for batch in setting.batches:
        network[batch] = _rate(model, setting, files, "network", batch, min(2, setting.threads))
        findings.note(network=network)
        if loop is not None:
            decode[batch] = asdict(loop.measure("decode", batch, setting.seconds))
            prepare[batch] = asdict(loop.measure("prepare", batch, setting.seconds))
            findings.note(decode_on_device=decode, prepare_on_device=prepare)
    model.close()


def ceiling(setting: Setting, findings: Findings) -> None:
    """Pictures to answers in one process: by threads alone, then as a service over HTTP."""
    model = _model(setting, findings)
    files = _files(setting)
    loop = _device_loop(setting, model, files, findings)
    _without_server(setting, findings, model, files)
    if loop is not None:
        _on_device(setting, findings, loop, model)
    model.close()
    _served(setting, findings)


def _without_server(setting: Setting, findings: Findings, model: Model, files: list[str]) -> None:
    """Pictures prepared by the CPU's cores, and what the whole is beside its slower part and the naive way."""
    whole: dict[int, Any] = {}
    for batch in setting.batches:
        whole[batch] = _rate(model, setting, files, "whole", batch, setting.threads)
        findings.note(whole=whole)
    best = max(whole, key=lambda batch: float(whole[batch]["per_second"]))
    rate = whole[best]["per_second"]
    prepare = _rate(model, setting, files, "prepare", 8, setting.threads)
    network = _rate(model, setting, files, "network", best, min(2, setting.threads))
    one_by_one = naive_rate(model, files, setting.seconds)
    trial = EngineTrial(files, setting.threads, best, "whole", 0.5, setting.seconds)
    findings.note(
        best_batch=best,
        network_per_second=network["per_second"],
        naive_per_second=one_by_one,
        whole_to_slower_part=rate / (min(prepare["per_second"], network["per_second"]) or math.nan),
        whole_to_naive=rate / one_by_one,
        alone_p50_ms=_rate(model, setting, files, "whole", 1, 1)["p50_ms"],
        device_busy=busy(lambda: measure(model, trial), model.device),
    )


def _on_device(setting: Setting, findings: Findings, loop: DeviceLoop, model: Model) -> None:
    """The same with pictures decoded and prepared on the device. Finishing (suppression) stays on the CPU's cores."""
    whole: dict[int, Any] = {}
    found: dict[str, Any] = {"whole": whole}
    for batch in setting.batches:
        whole[batch] = asdict(loop.measure("whole", batch, setting.seconds))
        findings.note(on_device=found)
    best = max(whole, key=lambda batch: float(whole[batch]["per_second"]))
    found["best_batch"] = best
    found["alone_p50_ms"] = loop.measure("whole", 1, setting.seconds, threads=1).p50_ms
    found["device_busy"] = busy(lambda: loop.measure("whole", best, setting.seconds), model.device)
    findings.note(on_device=found)


def _served(setting: Setting, findings: Findings) -> None:
    """One process as it is deployed, asked over HTTP by as many as are in flight."""
    settings = {"ENGINE": setting.engine, "DEVICE": setting.device, "MODELS_DIR": str(_repository(setting))}
    environment = environment_with(
        ROO_PORT="0", ROO_HOST=HOST, **{f"ROO_{name}": value for name, value in settings.items()}
    )
    workload = _workload(setting)
    served: dict[int, Any] = {}
    with Child("service", ["app", "serve"], setting.scratch, environment=environment, cwd=ROOT) as child:
        server = Server("service", child, READY_PATH, PREDICT)
        for flight in setting.flights:
            served[flight] = asdict(server.measure(workload, flight, setting.seconds / 4, setting.seconds))
            findings.note(served=served, ready_seconds=server.ready_seconds)


def _model(setting: Setting, findings: Findings) -> Model:
    """The bundled model on the device, and what the service would do with it here: precision, where it decodes."""
    chosen = choose_device(setting.device, setting.engine)
    precision = catalog.precisions(setting.engine, chosen)[0]
    entry = repository.read_entry(_repository(setting) / SHELF.name)
    serving = Serving(chosen, engine=setting.engine, precision=precision, lanes=setting.threads)
    (model,) = loader.load(entry, serving)
    findings.note(engine=setting.engine, precision=precision, device=chosen.name, decoding=asdict(model.decoding))
    return model


def _repository(setting: Setting) -> Path:
    """The bundled model as ONNX and, where there is PyTorch, as a program of its own, exported from its weights."""
    models = setting.scratch / "models"
    if models.exists():
        return models
    half = setting.scratch / "half"
    shutil.rmtree(half, ignore_errors=True)  # of a part that was cut off
    target = half / SHELF.name
    shutil.copytree(SHELF, target, ignore=shutil.ignore_patterns("training", "docs", "*.pt"))
    manifest = target / "model.yaml"
    lines = manifest.read_text().split("\nsha256:")[0].splitlines()
    lines = [line for line in lines if not line.startswith("batching")]
    most = max(setting.batches)
    manifest.write_text("\n".join([*lines, f"batching: {{max_size: {most}, max_size_cpu: {most}}}", ""]))
    if find_spec("torch") is not None:
        _export(target)
    half.rename(models)
    return models


def _export(target: Path) -> None:
    import torch

    from models.shelf.training.export import Deployed, fuse
    from models.shelf.training.network import Detector

    model = Detector()
    model.load_state_dict(torch.load(SHELF / "weights.pt", weights_only=True)["average"])
    spec = repository.read_entry(target).manifest.input
    assert spec is not None
    images = torch.zeros(2, 3, spec.size.height, spec.size.width)
    dynamic = {"images": {0: torch.export.Dim("batch", min=1, max=MOST)}}
    program = torch.export.export(Deployed(fuse(model)).eval(), (images,), dynamic_shapes=dynamic)
    torch.export.save(program, target / "1" / "model.pt2")


def _rate(
    model: Model, setting: Setting, files: list[str], stretch: Stretch, batch: int, threads: int
) -> dict[str, float]:
    warm = min(0.5, setting.seconds)
    found = measure(model, EngineTrial(files, threads, batch, stretch, warm, setting.seconds))
    return {"per_second": found.per_second, "p50_ms": found.p50_ms, "cpu_seconds": found.cpu_seconds}


def _device_loop(setting: Setting, model: Model, files: list[str], findings: Findings) -> DeviceLoop | None:
    """The way over the device, or None and why; also by how many levels of 255 its pixels differ from the CPU's."""
    missing = [name for name in ("torch", "torchvision") if find_spec(name) is None]
    if missing:
        findings.note(no_device_path=f"{' and '.join(missing)} not installed")
        return None
    loop = DeviceLoop(model, _torch_device(model.device), files)
    findings.note(levels_from_cpu=decode_placement.disagreement(model, loop.path))
    return loop


def _torch_device(chosen: Device) -> Any:
    import torch

    return torch.device("cuda", chosen.index) if chosen.kind == "cuda" else torch.device("cpu")


def _workload(setting: Setting) -> Workload:
    return pictures.workloads(_repository(setting) / SHELF.name, 8)[0]


def _files(setting: Setting) -> list[str]:
    workload = _workload(setting)
    paths = [setting.scratch / f"{index}.jpg" for index in range(len(workload.pictures))]
    for path, picture in zip(paths, workload.pictures, strict=True):
        path.write_bytes(picture)
    return [str(path) for path in paths]


PARTS: dict[str, Callable[[Setting, Findings], None]] = {
    "contract tests": contract_tests,
    "picture path": picture_path,
    "network against decode": network_against_decode,
    "one process's ceiling": ceiling,
    "other tests": other_tests,
}


def main() -> None:
    """Run one part; it exits with other than 0 where the part failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--device", required=True)
    parser.add_argument("--engine", default="torch")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--found", type=Path, required=True)
    options = parser.parse_args()
    seconds = min(options.seconds, 0.2) if options.quick else options.seconds
    setting = Setting(options.device, options.engine, seconds, options.quick, options.found.parent)
    with sigterm_as_exit():
        try:
            PARTS[options.part](setting, Findings(options.found))
        except RooError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
