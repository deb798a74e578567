"""Training told to a real MLflow server, which is killed in the middle."""

import io
from contextlib import redirect_stdout
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("mlflow")

from mlflow import MlflowClient

from models.shelf.training.coco import DataRefused
from models.shelf.training.journal import Journal
from models.shelf.training.tracking import Following, Teller, Tracking, bare, client_of
from tests.fixtures.mlflow_program import MlflowProgram
from tests.fixtures.waiting import until
from tests.models.shelf.scenes import drawn
from tests.models.shelf.torchrun import command, losses, trained, training


def history(server: MlflowProgram, experiment: str, metric: str = "class_loss") -> dict[int, float]:
    client = client_of(server.url)
    known = client.get_experiment_by_name(experiment)
    runs = client.search_runs([known.experiment_id]) if known else []
    assert len(runs) <= 1
    points = [point for run in runs for point in client.get_metric_history(run.info.run_id, metric)]
    assert len({point.step for point in points}) == len(points), "no step is told twice"
    return {point.step: point.value for point in points}


def test_a_server_that_is_killed_is_caught_up_with(server: MlflowProgram, tmp_path: Path) -> None:
    data, work = drawn(tmp_path / "scenes", range(4)), tmp_path / "work"
    options = ["--steps", "150", "--tracking", server.url, "--experiment", "killed", "--seed", "5"]
    with training(command(work, data, *options)) as process:
        until(lambda: history(server, "killed"), patience=120)
        server.kill()
        reached = max(losses(work))
        until(lambda: max(losses(work)) > reached + 5, patience=60)
        server.start()
        out, _ = process.communicate(timeout=200)
    assert process.returncode == 0, out
    found = {step: pair[0] for step, pair in losses(work).items()}
    assert history(server, "killed") == pytest.approx(found)
    assert list(found) == list(range(1, 151))
    client = client_of(server.url)
    run = client.search_runs([client.get_experiment_by_name("killed").experiment_id])[0]
    assert run.info.status == "FINISHED"
    assert run.data.params["seed"] == "5"
    assert run.data.tags["data.sha256"].startswith(run.inputs.dataset_inputs[0].dataset.digest)
    assert "system/cpu_utilization_percentage" in run.data.metrics


def records(folder: Path, first: int, last: int) -> None:
    with redirect_stdout(io.StringIO()), Journal(folder, last, first - 1) as journal:
        for step in range(first, last + 1):
            journal.report(step, 4, 1 / step, float("inf") if step == 2 else 0.5, 0.001)


def test_what_was_told_is_not_told_again(server: MlflowProgram, tmp_path: Path) -> None:
    tracking = Tracking(server.url, "again", {"long": "x" * 9000}, "photos", "ab" * 32)
    records(tmp_path, 1, 250)
    Teller(tmp_path, tracking).catch_up()
    records(tmp_path, 251, 260)
    Teller(tmp_path, tracking).catch_up()
    assert list(history(server, "again")) == list(range(1, 261))
    assert 2 not in history(server, "again", "box_loss"), "MLflow would take infinity for a number"


def test_a_run_whose_beginning_was_cut_short_is_gone_on_with(
    server: MlflowProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = Tracking(server.url, "cut", {"seed": 5}, "photos", "ab" * 32)
    records(tmp_path, 1, 3)
    inputs = MlflowClient.log_inputs
    monkeypatch.setattr(MlflowClient, "log_inputs", lambda *_: (_ for _ in ()).throw(OSError("away")))
    with pytest.raises(OSError, match="away"):
        Teller(tmp_path, tracking).catch_up()
    monkeypatch.setattr(MlflowClient, "log_inputs", inputs)
    Teller(tmp_path, tracking).catch_up()
    assert list(history(server, "cut")) == [1, 2, 3]
    client = client_of(server.url)
    (run,) = client.search_runs([client.get_experiment_by_name("cut").experiment_id])
    assert run.data.params["seed"] == "5"
    assert len(run.inputs.dataset_inputs) == 1


def test_a_server_that_never_comes_ends_no_training(tmp_path: Path) -> None:
    tracking = Tracking("http://127.0.0.1:9", "never", {}, "photos", "ab" * 32)
    with redirect_stdout(io.StringIO()) as printed, Following(tmp_path, tracking, patience=0.1):
        records(tmp_path, 1, 3)
    said = printed.getvalue().replace("\n", " ")
    assert "training goes on, and it is told later" in said
    assert f"`track --work {tmp_path} --tracking URI` tells the rest" in said


def test_what_gives_access_is_not_told() -> None:
    assert bare("https://robot:secret@mlflow.example/a") == "https://mlflow.example/a"
    assert bare("azblob://account/data?sig=secret, more/coco.json") == "azblob://account/data, more/coco.json"
    assert bare("Is it there? Yes, at http://robot:secret@here:5000") == "Is it there? Yes, at http://here:5000"
    with pytest.raises(DataRefused) as refused:
        client_of("ftp://robot:secret@mlflow.example")
    assert "secret" not in str(refused.value)


def test_what_is_no_server_is_refused_before_training() -> None:
    for uri in ("file:///runs", "sqlite:///runs.db", "azureml://nowhere"):
        with pytest.raises(DataRefused, match="--tracking"):
            client_of(uri)


def test_a_run_that_was_not_told_is_told_later(server: MlflowProgram, tmp_path: Path) -> None:
    data, work = drawn(tmp_path / "scenes", range(4)), tmp_path / "work"
    assert trained(command(work, data, "--steps", "3")).returncode == 0
    told = command(work, data, "--tracking", server.url, "--experiment", "later")
    told[told.index("train")] = "track"
    done = trained(told)
    assert done.returncode == 0, done.stderr
    assert list(history(server, "later")) == [1, 2, 3]
