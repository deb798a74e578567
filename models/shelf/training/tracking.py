"""A run of training in MLflow, told from its journal by a thread: training never waits for a server.

What has been told is kept in `tracking.json`, so that a server that was away, or a training that was interrupted, is
caught up with: by the thread as soon as it can, or later by `track`.
"""

import json
import math
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from requests import RequestException
from rich.console import Console

from app.repository.sources.files import write_whole
from models.shelf.training import journal
from models.shelf.training.coco import DataRefused

KEPT = "tracking.json"
_SECRETS = re.compile(r"(?<=://)[^/@\s]+@|(?<=\S)\?[^\s,'\"]+")
_BATCH = 100
"""Records in one request: MLflow takes 1,000 numbers."""
_LONGEST_PARAM = 6000
_SERVERS = ("http://", "https://", "azureml://", "databricks")
_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_FAILURES = (MlflowException, RequestException, OSError)


@dataclass(frozen=True, slots=True)
class Tracking:
    """Where a run is told: the server's URI (as `MLFLOW_TRACKING_URI`), the experiment, and what is said of the run."""

    uri: str
    experiment: str
    params: Mapping[str, Any]
    data: str
    digest: str


def client_of(uri: str) -> MlflowClient:
    """A client that gives up within seconds: who uses it tries again. Raises `DataRefused` for what is no server."""
    MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(1)
    MLFLOW_HTTP_REQUEST_TIMEOUT.set(20)
    if not uri.startswith(_SERVERS):
        raise DataRefused(f"--tracking {bare(uri)}: an MLflow server begins with {', '.join(_SERVERS)}.")
    try:
        return MlflowClient(uri)
    except MlflowException as error:
        raise DataRefused(
            f"--tracking {bare(uri)}: {_short(error)} (azureml:// needs the package azureml-mlflow)"
        ) from None


def bare(text: str) -> str:
    """The same without what gives access in its addresses: names with passwords, and queries, which may sign."""
    return _SECRETS.sub("", text)


@contextmanager
def telling(uri: str) -> Iterator[str]:
    """A block in which MLflow has to answer: raises `DataRefused` where it does not."""
    try:
        yield uri
    except _FAILURES as error:
        raise DataRefused(
            f"MLflow at {bare(uri)} does not take it: {_short(error)}. The same command goes on there."
        ) from None


class Teller:
    """Tells the records of `folder`'s journal to MLflow, each once; a run that was begun there is gone on with."""

    def __init__(self, folder: Path, tracking: Tracking) -> None:
        self._folder = folder
        self._tracking = tracking
        self._client = client_of(tracking.uri)
        path = folder / KEPT
        kept = json.loads(path.read_text()) if path.exists() else {}
        same = kept.get("uri") == bare(tracking.uri)
        self._run_id: str | None = kept["run_id"] if same else None
        self._described = same and kept["described"]
        self._told: int = kept["told"] if same else 0

    @classmethod
    def of(cls, folder: Path, uri: str) -> "Teller":
        """That of a training that was told there already; raises `DataRefused` where it was not."""
        teller = cls(folder, Tracking(uri, "", {}, "", ""))
        if teller._run_id is None:
            raise DataRefused(
                f"{folder} was not told to {bare(uri)}: train with --tracking, or tell it by `track` first."
            )
        return teller

    @property
    def run_id(self) -> str:
        """The run's id, which `catch_up` has made."""
        assert self._run_id is not None
        return self._run_id

    @property
    def client(self) -> MlflowClient:
        """For what is not a metric."""
        return self._client

    def catch_up(self) -> None:
        """Tells all that is new; raises what the client raises, and goes on from there at the next call."""
        if self._run_id is None:
            self._run_id = self._begun()
            self._keep()  # at once: what is cut short from here on makes no second run
        if not self._described:
            self._describe()
            self._described = True
            self._keep()
        records = journal.records(self._folder / journal.NAME)
        while self._told < len(records):
            some = records[self._told : self._told + _BATCH]
            self._client.log_batch(self._run_id, metrics=[metric for record in some for metric in _metrics(record)])
            self._told += len(some)
            self._keep()

    def end(self, failed: bool) -> None:
        """Marks the run as over."""
        self._client.set_terminated(self.run_id, "FAILED" if failed else "FINISHED")

    def _begun(self) -> str:
        known = self._client.get_experiment_by_name(self._tracking.experiment)
        experiment = known.experiment_id if known else self._client.create_experiment(self._tracking.experiment)
        return str(self._client.create_run(experiment, run_name=self._folder.name).info.run_id)

    def _describe(self) -> None:
        """Says what is said once; twice the same changes nothing."""
        params = [Param(name, str(value)[:_LONGEST_PARAM]) for name, value in self._tracking.params.items()]
        self._client.log_batch(self.run_id, params=params, tags=[RunTag("data.sha256", self._tracking.digest)])
        source = json.dumps({"uri": bare(self._tracking.data)})
        data = Dataset("pictures", self._tracking.digest[:36], "local", source)
        self._client.log_inputs(self.run_id, [DatasetInput(data)])

    def _keep(self) -> None:
        kept = {
            "uri": bare(self._tracking.uri),
            "run_id": self._run_id,
            "described": self._described,
            "told": self._told,
        }
        write_whole(self._folder / KEPT, json.dumps(kept))


class Following:
    """A thread that tells the journal while it grows, in a `with` block around the training.

    At the end it has `patience` seconds to tell the rest; what it could not tell is said, and how it is told later.
    """

    def __init__(self, folder: Path, tracking: Tracking, patience: float = 60.0) -> None:
        self._folder, self._patience = folder, patience
        self._teller = Teller(folder, tracking)
        self._over = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._follow, name="mlflow", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._failed = kind is not None
        self._over.set()
        self._thread.join()

    def _follow(self) -> None:
        pause, give_up, away = _PAUSE, math.inf, False
        while True:
            over = self._over.wait(pause)
            if over and give_up == math.inf:
                give_up = time.monotonic() + self._patience
            try:
                self._teller.catch_up()
                if over:
                    self._teller.end(self._failed)
                    return
            except _FAILURES as error:
                if not away:
                    _say(f"MLflow does not take it ({_short(error)}): training goes on, and it is told later.")
                if time.monotonic() > give_up:
                    _say(f"MLflow was not told all: `track --work {self._folder} --tracking URI` tells the rest.")
                    return
                pause, away = min(2 * pause, _LONGEST_PAUSE if not over else _PAUSE), True
                if over:
                    time.sleep(_PAUSE)  # the event is set, and waits for nobody any more
            else:
                if away:
                    _say("MLflow is back, and has been told what it missed.")
                pause, away = _PAUSE, False


def _metrics(record: Mapping[str, float]) -> list[Metric]:
    step, at = int(record["step"]), int(1000 * record["time"])
    values = {name: value for name, value in record.items() if name not in ("step", "time")}
    return [Metric(name, float(value), at, step) for name, value in values.items() if math.isfinite(value)]


def _say(line: str) -> None:
    Console().print(line, markup=False, highlight=False, soft_wrap=True)


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {bare(str(error)).splitlines()[0][:160]}"
