"""The gate: a better candidate passes and is served, a worse one is refused; figures as COCO's own code has them."""

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import closing, redirect_stdout
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("mlflow")

import onnx
import yaml
from onnx import numpy_helper

from app.repository.repository import ModelEntry, read_entry
from app.repository.sources import pulling
from app.repository.sources.addresses import open_source
from app.repository.sources.files import digest
from models.shelf.training.bootstrap import figures, matches_of
from models.shelf.training.bring import QUIET
from models.shelf.training.gate import CandidateRefused, Judged, judge
from models.shelf.training.measuring import Version, measure
from models.shelf.training.metrics import Pictures, average_precision
from models.shelf.training.release import go_back, promote
from models.shelf.training.tracking import client_of
from tests.fixtures.blob_storage import Storage, blob_storage
from tests.fixtures.mlflow_program import MlflowProgram, mlflow_program
from tests.models.shelf.scenes import drawn
from tests.models.shelf.torchrun import command, trained

SHELF = Path("models/shelf")


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn(tmp_path_factory.mktemp("held-out"), range(14), "val", (640, 360))


def damaged(path: Path) -> bytes:
    """The graph with noise in its weights: it finds less."""
    graph = onnx.load(path)
    rng = np.random.default_rng(0)
    for item in graph.graph.initializer:
        if item.name.endswith("weight"):
            values = numpy_helper.to_array(item)
            noisy = values * (1 + rng.normal(0, 0.25, values.shape)).astype(values.dtype)
            item.CopyFrom(numpy_helper.from_array(noisy, item.name))
    return graph.SerializeToString()


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    """Version 1 is the bundled one, version 2 a worse one."""
    folder = tmp_path_factory.mktemp("models") / "shelf"
    (folder / "2").mkdir(parents=True)
    shutil.copytree(SHELF / "1", folder / "1")
    (folder / "2" / "model.onnx").write_bytes(damaged(SHELF / "1" / "model.onnx"))
    shutil.copy(SHELF / "1" / "model.int8.onnx", folder / "2")
    manifest = yaml.safe_load((SHELF / "model.yaml").read_text()) | {
        "versions": ["1", "2"],
        "precisions": ["fp32", "int8"],
    }
    del manifest["sha256"]
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest))
    return read_entry(folder)


def judged(champion: Version, candidate: Version, held_out: Path) -> tuple[Judged, str]:
    with redirect_stdout(io.StringIO()) as printed:
        result = judge(champion, candidate, Pictures(held_out))
        result.print()
    return result, printed.getvalue()


def test_a_better_candidate_passes_and_a_worse_one_is_refused_with_a_table(
    versions: ModelEntry, held_out: Path
) -> None:
    good, bad = Version(versions, "1"), Version(versions, "2")
    better, _ = judged(bad, good, held_out)
    assert better.passed, better
    better.refuse_unless_passed()
    worse, table = judged(good, bad, held_out)
    with pytest.raises(
        CandidateRefused, match=r"Refused: version 2 is worse in mAP50, mAP50-95, .*mAP50 in int8|worse"
    ):
        worse.refuse_unless_passed()
    assert {"mAP50", "mAP50-95", "alike in int8"} <= set(worse.worse)
    assert worse.rows["milliseconds"].verdict == "same"
    for name in ("mAP50-95", "mAP50 pallet", "barcodes read", "milliseconds", "alike in int8"):
        assert name in table


def test_the_same_model_is_not_better(versions: ModelEntry, held_out: Path) -> None:
    same, _ = judged(Version(versions, "1"), Version(versions, "1"), held_out)
    assert same.worse == []
    assert (same.rows["mAP50"].low, same.rows["mAP50"].high) == (0, 0)
    with pytest.raises(
        CandidateRefused, match=r"is not surely better than version 1: its mAP50-95 differs by \+0\.0000"
    ):
        same.refuse_unless_passed()


def test_figures_are_those_of_pycocotools(versions: ModelEntry, held_out: Path) -> None:
    pictures = Pictures(held_out)
    with redirect_stdout(io.StringIO()):
        (measured,) = measure([Version(versions, "1")], pictures)
    theirs, run = average_precision(pictures, measured.found)
    ours = figures(matches_of(run), np.ones(len(pictures)))
    assert ours["mAP50"] == pytest.approx(theirs["mAP50"], abs=1e-4)
    assert ours["mAP50-95"] == pytest.approx(theirs["mAP50-95"], abs=1e-4)
    assert ours["mAP50 label"] == pytest.approx(theirs["classes"]["label"]["mAP50"], abs=1e-4)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowProgram]:
    with mlflow_program(tmp_path_factory.mktemp("mlflow")) as program:
        yield program


@pytest.fixture
def storage() -> Iterator[Storage]:
    with blob_storage() as running:
        yield running


def gated(work: Path, champion: Path, held_out: Path, storage: Storage, server: MlflowProgram) -> tuple[int, str]:
    line = command(work, held_out, "--folder", str(champion), "--test", str(held_out), "--val", str(held_out))
    line[line.index("train")] = "gate"
    done = trained([*line, "--push", storage.below("team"), "--tracking", server.url])
    return done.returncode, done.stdout + done.stderr


def test_from_scenes_to_a_version_that_serving_pulls(
    versions: ModelEntry, held_out: Path, storage: Storage, server: MlflowProgram, tmp_path: Path
) -> None:
    """A champion that is bad, a training that begins at a good one; then the other way round."""
    work, champion = tmp_path / "work", tmp_path / "models" / "shelf"
    shutil.copytree(versions.versions["1"].parents[1], champion)
    shutil.rmtree(champion / "1")
    (champion / "2").rename(champion / "1")
    manifest = yaml.safe_load((champion / "model.yaml").read_text()) | {"versions": "latest"}
    (champion / "model.yaml").write_text(yaml.safe_dump(manifest))
    options = ["--weights", str(SHELF), "--steps", "2", "--rate", "1e-6", "--tracking", server.url]
    line = command(work, drawn(tmp_path / "scenes", range(4), size=(640, 360)), *options)
    plan = json.loads((work / "plan.json").read_text())
    del plan["widths"], plan["neck"]
    (work / "plan.json").write_text(json.dumps(plan | {"phases": [[1.0, [[320, 192]]]]}))
    done = trained(line)
    assert done.returncode == 0, done.stderr

    code, said = gated(work, champion, held_out, storage, server)
    assert code == 0, said
    pulled = tmp_path / "pulled"
    with closing(open_source(storage.below("team"))) as source:
        pulling.pull(source, pulled, pulling.Pull(), QUIET)
    entry = read_entry(pulled / "shelf")
    assert list(entry.versions) == ["1", "2"]
    assert entry.manifest.shadow == {"2": 10}
    assert entry.manifest.traffic == {"1": 100}
    assert {"model.onnx", "model.int8.onnx"} == {path.name for path in (pulled / "shelf" / "2").iterdir()}

    client = client_of(server.url)
    registered = client.get_model_version_by_alias("shelf", "candidate")
    assert registered.tags == {"version": "2", "gate": "passed"}
    with closing(open_source(f"mlflow+{server.url}/shelf@candidate")) as source:
        pulling.pull(source, tmp_path / "from-mlflow", pulling.Pull(), QUIET)
    graph = Path("shelf/2/model.onnx")
    assert digest(tmp_path / "from-mlflow" / graph) == digest(pulled / graph)
    plots = {file.path for file in client.list_artifacts(registered.run_id, "plots")}
    assert plots == {"plots/losses.png", "plots/precision-recall.png"}
    assert client.get_run(registered.run_id).data.metrics["gate/mAP50"] > 0.5
    assert json.loads((work / "gate.json").read_text())["passed"]
    assert promote(client, "shelf") == registered.version
    assert client.get_model_version_by_alias("shelf", "champion").version == registered.version

    before = dict(storage.blobs)
    code, said = gated(work, pulled / "shelf", held_out, storage, server)
    assert code == 1
    assert "not surely better" in said
    assert storage.blobs == before
    assert len(client.search_model_versions("name='shelf'")) == 1, "nothing half-written is registered"


def test_the_alias_goes_back(server: MlflowProgram) -> None:
    client = client_of(server.url)
    client.create_registered_model("robot")
    run = client.create_run(client.create_experiment("robot"))
    for version in ("1", "2"):
        client.create_model_version("robot", f"{run.info.artifact_uri}/robot", run.info.run_id)
        client.set_registered_model_alias("robot", "candidate", version)
        assert promote(client, "robot") == version
    assert go_back(client, "robot") == "1"
    assert client.get_model_version_by_alias("robot", "champion").version == "1"
