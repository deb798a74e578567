"""`make demo-training`: from scenes to a better version in service, with what goes wrong on the way.

A champion that has forgotten much (noise in the bundled model's weights) is trained on drawn scenes by two processes of
torchrun; one of them is killed, and MLflow too. A worse candidate is refused by the gate, the better one is pushed,
pulled by a service, shadowed, and rolled out. What was seen is a page with tables and plots.
"""

import argparse
import html
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import onnx
import yaml
from onnx import numpy_helper

from app.bench.processes import Child, sigterm_as_exit
from app.client import Client
from app.errors import StartupError
from app.host.process import environment_with

BUNDLED = Path(__file__).parents[1] / "models" / "shelf"
FORGOTTEN = 0.25
"""The noise in the champion's weights, as a part of each."""
SCENES = ("100", "12", "32")
PLAN = '{"pictures": 8, "phases": [[1.0, [[320, 192]]]], "save_every": 10, "report_every": 5, "warmup": 10}'
STEPS, WORSE_STEPS = 120, 6


@dataclass(slots=True)
class Told:
    """What happened, by seconds since the beginning, and the tables that were printed."""

    began: float = field(default_factory=time.monotonic)
    lines: list[tuple[float, str]] = field(default_factory=list)
    tables: dict[str, str] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)

    def say(self, line: str) -> None:
        """Prints and keeps a line."""
        self.lines.append((time.monotonic() - self.began, line))
        print(f"{self.lines[-1][0]:5.0f} s  {line}", flush=True)  # noqa: T201


def forgetful(folder: Path) -> None:
    """The bundled model with noise in its weights, as a repository's model."""
    (folder / "1").mkdir(parents=True)
    graph = onnx.load(BUNDLED / "1" / "model.onnx")
    rng = np.random.default_rng(0)
    for item in graph.graph.initializer:
        if item.name.endswith("weight"):
            values = numpy_helper.to_array(item)
            noisy = values * (1 + rng.normal(0, FORGOTTEN, values.shape)).astype(values.dtype)
            item.CopyFrom(numpy_helper.from_array(noisy, item.name))
    onnx.save(graph, folder / "1" / "model.onnx")
    shutil.copytree(BUNDLED / "examples", folder / "examples")
    manifest = yaml.safe_load((BUNDLED / "model.yaml").read_text("utf-8")) | {"precisions": ["fp32"]}
    del manifest["sha256"]
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest), "utf-8")


@dataclass(slots=True)
class Server:
    """MLflow, which can be killed and started again."""

    python: Path
    folder: Path
    port: int = 0
    child: Child | None = None

    @property
    def url(self) -> str:
        """Its tracking URI."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it; raises `StartupError` where it ends."""
        self.folder.mkdir(exist_ok=True)
        if not self.port:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
        database = f"sqlite:///{self.folder / 'mlflow.db'}"
        options = ["--backend-store-uri", database, "--artifacts-destination", str(self.folder / "artifacts")]
        arguments = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1", *options]
        environment = environment_with(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
        self.child = Child("mlflow", arguments, self.folder, environment=environment, python=self.python)
        _wait(self._answers, 120, self.child)

    def stop(self) -> None:
        """Ends it, and what it has started."""
        if self.child is not None:
            for pid in _children(self.child.pid):
                os.kill(pid, signal.SIGKILL)
            self.child.kill()
            self.child = None

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health").is_success
        except httpx.TransportError:
            return False


def show(out: Path, mlflow: Path) -> Told:
    """Runs it all in the folder `out`. Raises `StartupError` where a step does not do what it should."""
    told, champion = Told(), out / "repository" / "shelf"
    forgetful(champion)
    (out / "plan.json").write_text(PLAN)
    _training("render", "--work", out / "scenes", "--scenes", *SCENES)
    told.say(f"drawn: {SCENES[0]} scenes to learn from, {SCENES[1]} for int8, {SCENES[2]} held out")
    server = Server(mlflow.absolute(), out / "mlflow")
    server.start()
    try:
        told.say(f"MLflow answers at {server.url}")
        data = ["--data", out / "scenes" / "train", "--weights", champion, "--plan", out / "plan.json"]
        _train_disturbed(out, data, server, told)
        worse = ["--work", out / "worse", *data, "--steps", WORSE_STEPS, "--rate", 0.3, "--tracking", server.url]
        _training("train", *worse)
        told.say("a second candidate was trained at a rate that is far too high")
        for name, passes in (("worse", False), ("better", True)):
            told.tables[name] = _gated(out, out / name, champion, server.url, passes)
            told.say(f"the gate has {'let the better candidate through' if passes else 'refused the worse candidate'}")
        _serve(out, server, told)
    finally:
        server.stop()
    return told


def _train_disturbed(out: Path, data: list[object], server: Server, told: Told) -> None:
    """Two processes, of which one is killed, and MLflow after it."""
    work = out / "better"
    run = ["torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "3", "--rdzv-backend", "c10d"]
    run += ["--rdzv-endpoint", "127.0.0.1:0", "--monitor-interval", "0.2", "-m", "models.shelf.training", "train"]
    options = ["--work", work, *data, "--steps", STEPS, "--rate", 1e-3, "--tracking", server.url]
    with Child("training", [*run, *map(str, options)], out, environment=environment_with(OMP_NUM_THREADS="1")) as train:
        told.say("two processes train")
        _wait(lambda: _step(work) >= STEPS // 3, 400, train)
        killed = time.monotonic()
        os.kill(_children(train.pid)[0], signal.SIGKILL)
        reached = _step(work)
        _wait(lambda: _step(work) > reached, 120, train)
        told.say(f"one was killed at step {reached}; {time.monotonic() - killed:.0f} s later they were further on")
        server.stop()
        reached = _step(work)
        _wait(lambda: _step(work) > reached, 120, train)
        told.say(f"MLflow was killed, and training went on to step {_step(work)}")
        server.start()
        _wait(lambda: train.ended_with() is not None, 600, None)
        if train.ended_with() != 0:
            raise StartupError(f"Training ended with {train.ended_with()}:\n{train.log()}")
    told.say(f"trained: {STEPS} steps; MLflow was told all of them")


def _gated(out: Path, work: Path, champion: Path, url: str, passes: bool) -> str:
    """The table of the gate, which has to let the candidate pass, or to refuse it."""
    scenes = out / "scenes"
    options = ["--work", work, "--folder", champion, "--val", scenes / "val", "--test", scenes / "test"]
    done = _asked("gate", *options, "--push", out / "store", "--tracking", url)
    if (done.returncode == 0) is not passes:
        raise StartupError(f"The gate was to {'pass' if passes else 'refuse'} {work.name}:\n{done.stdout}{done.stderr}")
    return done.stdout.partition("version 2 against")[2] + done.stderr


def _serve(out: Path, server: Server, told: Told) -> None:
    """Pulled, shadowed and rolled out, while pictures are asked for all the time."""
    _run([sys.executable, "-m", "app", "models", "pull", str(out / "store"), "--into", str(out / "served")])
    told.say("the service's repository was pulled from where the gate has pushed")
    options = ["--host", "127.0.0.1", "--port", "0", "--models-dir", str(out / "served")]
    environment = environment_with(ROO_MODEL_CONTROL="open", ROO_CALIBRATE="false")
    with Child("service", ["app", "serve", *options], out, environment=environment) as service:
        port, _ = service.wait_until_ready("/readyz")
        url = f"http://127.0.0.1:{port}"
        with _asking(url, out / "scenes" / "test", told.answers):
            _wait(lambda: "roo_shadow_things_total{" in httpx.get(f"{url}/metrics").text, 60, service)
            told.say(f"version 1 answers, version 2 is its shadow: {dict(told.answers)} answers")
            plan = ["--to", "2", "--steps", "50,100", "--every", "3s", "--guard", "error_ratio<1%", "--watch"]
            said = _run([sys.executable, "-m", "app", "rollout", "shelf", *plan, "--url", url])
            told.say(f"rolled out: {said.splitlines()[-1]}")
            before = told.answers["2"]
            _wait(lambda: told.answers["2"] > before + 3, 60, service)
    told.say(f"answers by version: {dict(sorted(told.answers.items()))}")
    _training("promote", "--folder", out / "repository" / "shelf", "--tracking", server.url)
    told.say("MLflow's alias `champion` is the new version's")


@contextmanager
def _asking(url: str, pictures: Path, answers: Counter[str]) -> Iterator[None]:
    over = threading.Event()

    def ask() -> None:
        with Client(url) as client:
            while not over.is_set():
                for picture in sorted(pictures.glob("*.jpg"))[:8]:
                    answers[str(client.predict(picture).version)] += 1

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield
    finally:
        over.set()
        asker.join()


def _training(command: str, *options: object) -> None:
    done = _asked(command, *options)
    if done.returncode:
        raise StartupError(f"{command} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _asked(command: str, *options: object) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "models.shelf.training", command, *map(str, options)]
    return subprocess.run(line, capture_output=True, text=True, timeout=900, check=False)


def _run(line: list[str]) -> str:
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise StartupError(f"{' '.join(line[2:])} failed:\n{done.stdout}{done.stderr}")
    return done.stdout.rstrip()


def _wait(condition: Callable[[], bool], seconds: float, child: Child | None) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        if child is not None:
            child.check_alive()
        if time.monotonic() > give_up:
            raise StartupError(f"Waited {seconds:.0f} s in vain.\n{child.log() if child else ''}")
        time.sleep(0.1)


def _step(work: Path) -> int:
    return max((int(path.name.split("-")[1]) for path in work.glob("checkpoint-*.pt")), default=0)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def page(told: Told, out: Path) -> None:
    """Writes `index.html` beside the plots that it shows."""
    plots = "".join(
        f'<figure><img src="better/plots/{name}.png" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
        for name, caption in (("losses", "Losses by step"), ("precision-recall", "The candidate on held-out scenes"))
    )
    lines = "".join(f"<tr><td>{at:.0f} s</td><td>{html.escape(line)}</td></tr>" for at, line in told.lines)
    tables = "".join(
        f"<h2>The {name} candidate</h2><pre>{html.escape(text)}</pre>" for name, text in told.tables.items()
    )
    style = "body{font-family:sans-serif;max-width:70rem;margin:2rem auto}td{padding:.2rem .8rem}pre{font-size:.8rem}"
    (out / "index.html").write_text(
        f'<!doctype html><meta charset="utf-8"><title>Training</title><style>{style}</style>'
        f"<h1>From scenes to a version in service</h1><table>{lines}</table>{plots}{tables}",
        "utf-8",
    )


def main() -> None:
    """Run it, and write the page."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=Path("out/training"), help="folder for everything; made anew")
    options.add_argument("--mlflow", type=Path, default=Path(".venv-mlflow/bin/python"), help="Python that has MLflow")
    asked = options.parse_args()
    shutil.rmtree(asked.out, ignore_errors=True)
    asked.out.mkdir(parents=True)
    with sigterm_as_exit():
        told = show(asked.out.absolute(), asked.mlflow)
    page(told, asked.out)
    print(f"wrote {asked.out / 'index.html'} after {time.monotonic() - told.began:.0f} s")  # noqa: T201


if __name__ == "__main__":
    main()
