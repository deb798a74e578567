"""How models are served: which device, engine and precision, how many lanes of how many cores, what may be tried."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from app.core.working_memory import UNBOUNDED, WorkingMemory
from app.engines import catalog, devices, onnx_cuda
from app.engines.base import EngineName, Precision
from app.engines.devices import Device
from app.host.process import usable_cores
from app.loading.decode_placement import GpuDecode
from app.loading.verdicts import Verdicts
from app.settings import Settings

if TYPE_CHECKING:
    from app.repository.signatures import Trust  # only those who ask for signatures wait for its import


class Share(NamedTuple):
    """How a CPU's cores are shared out: `lanes` threads, each of which computes with so many `threads`."""

    lanes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.lanes} x {self.threads}"


class PrecisionChoice(NamedTuple):
    """What a model is computed in, and why."""

    precision: Precision
    reason: str


class BatchLimit(NamedTuple):
    """The most pictures in one batch, and why."""

    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class Serving:
    """How models are served, as far as their manifests leave it open.

    `lanes` is how many threads will compute, `threads` how many cores each may use, `shares` what else of these two
    may be tried; `max_batch` is an upper bound on every manifest's. By name and version, `batches` are the limits that
    were measured, `precisions` what was found best to compute in; `verdicts` are kept by what was tried. `gpu_memory`
    bounds what each model takes of a GPU, in bytes. `gpu_decode` says whether pictures are decoded on the GPU,
    `cuda_graphs` whether CUDA graphs may be captured. `memory` is what all decoded pictures may take together. With
    `trust`, only models whose signature was checked are opened.
    """

    device: Device
    engine: Literal["auto"] | EngineName = "auto"
    precision: Literal["auto"] | Precision = "auto"
    lanes: int = 1
    threads: int = 1
    calibrate: bool = False
    shares: tuple[Share, ...] = ()
    max_batch: int | None = None
    batches: Mapping[tuple[str, str], BatchLimit] = field(default_factory=dict)
    precisions: Mapping[tuple[str, str], PrecisionChoice] = field(default_factory=dict)
    gpu_memory: int | None = None
    cache_dir: Path | None = None
    gpu_decode: GpuDecode = "auto"
    cuda_graphs: bool = True
    verdicts: Verdicts = field(default_factory=Verdicts)
    memory: WorkingMemory = field(default_factory=lambda: WorkingMemory(UNBOUNDED))
    trust: "Trust | None" = None

    @classmethod
    def of(cls, settings: Settings) -> "Serving":
        """How the settings want models to be served.

        Raises `DeviceUnavailable` or `EngineUnavailable` where that is impossible here, `StartupError` where the keys
        that are trusted cannot be read.
        """
        share, *others = _shares(settings, usable_cores())
        return cls(
            device=choose_device(settings.device, settings.engine),
            engine=settings.engine,
            precision=settings.precision,
            lanes=share.lanes,
            threads=share.threads,
            calibrate=settings.calibrate,
            shares=tuple(others),
            max_batch=settings.max_batch,
            gpu_memory=settings.gpu_memory,
            cache_dir=settings.cache_dir,
            gpu_decode=settings.gpu_decode,
            cuda_graphs=settings.cuda_graphs,
            memory=WorkingMemory(settings.max_decode_bytes),
            trust=trusted(settings),
        )


def _shares(settings: Settings, cores: int) -> list[Share]:
    """What the settings leave to choose from, the usual first: a lane for each core.

    One lane for all cores is not among it: they would wait whenever it decodes a picture.
    """
    if settings.lanes:
        return [Share(settings.lanes, settings.lane_threads or 1)]
    if settings.lane_threads:
        return [Share(max(1, cores // settings.lane_threads), settings.lane_threads)]
    wider = [threads for threads in range(2, cores // 2 + 1) if cores % threads == 0]
    return [Share(cores, 1), *(Share(cores // threads, threads) for threads in wider)]


def trusted(settings: Settings) -> "Trust | None":
    """The keys of which one must have signed a model; None where that is not asked for.

    Raises `StartupError` where they cannot be read.
    """
    if settings.trusted_keys is None:
        return None
    from app.repository.signatures import Trust

    return Trust.read(settings.trusted_keys)


def choose_device(asked: str, engine: Literal["auto"] | EngineName = "auto") -> Device:
    """The device for all models that this engine serves.

    Raises `DeviceUnavailable` where one was demanded and is not usable, `EngineUnavailable` where the engine is not
    installed.
    """
    if asked == "cpu":
        return devices.choose(asked, None)
    problem = catalog.cuda_problem("onnx" if engine == "auto" else engine)
    return devices.choose(asked, problem, onnx_cuda.gpu_count())
