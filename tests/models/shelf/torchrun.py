"""Training as torchrun starts it, for tests: real processes, a tiny network, small pictures."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TINY = {
    "pictures": 4,
    "widths": [8, 8, 16, 16, 16],
    "neck": 16,
    "phases": [[1.0, [[128, 96]]]],
    "bf16": False,
    "warmup": 1,
    "save_every": 1,
    "report_every": 1,
}
_ALONE = {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}


def command(work: Path, data: Path, *arguments: str, processes: int = 0, restarts: int = 0) -> list[str]:
    """`train`, by itself in one process or in so many of torchrun's."""
    work.mkdir(parents=True, exist_ok=True)
    plan = work / "plan.json"
    plan.write_text(json.dumps(TINY))
    run = [sys.executable]
    if processes:
        run += ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--max-restarts", str(restarts)]
        run += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--monitor-interval", "0.1"]
    train = ["-m", "models.shelf.training", "train", "--work", str(work), "--data", str(data), "--plan", str(plan)]
    return [*run, *train, "--threads", "1", *arguments]


def trained(line: list[str]) -> subprocess.CompletedProcess[str]:
    """What came of the command."""
    return subprocess.run(line, capture_output=True, text=True, timeout=240, env=os.environ | _ALONE, check=False)


@contextmanager
def training(line: list[str]) -> Iterator[subprocess.Popen[str]]:
    """The command in a group of processes of its own, all of which are gone afterwards."""
    with subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | _ALONE,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            for pid in [*workers(process.pid), process.pid]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue


def workers(pid: int) -> list[int]:
    """The processes that torchrun's process has started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def losses(work: Path) -> dict[int, tuple[float, float]]:
    """Class loss and box loss by step, of all that was logged."""
    lines = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    assert len({line["step"] for line in lines}) == len(lines), "no step is logged twice"
    return {line["step"]: (line["class_loss"], line["box_loss"]) for line in lines}
