"""Each family's file, served over HTTP by a process of its own, beside the family's own code."""

import copy
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fixtures.models import write_manifest
from tests.fixtures.server import Server, serving
from tests.parity.agreement import SCORE, Agreement, Figures, Found
from tests.parity.families import documented, torchvision_models, transformers_detr, yolox
from tests.parity.families.base import Family
from tests.parity.pictures import pictures

FAMILIES = [
    *yolox.families(),
    *transformers_detr.families(),
    *documented.families(),
]
LEAST, FEWEST = 0.99, 100


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    """One family after the other."""
    chosen: Family = request.param
    return chosen


@pytest.fixture(scope="module")
def server(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with the family's model, as its manifest says (`exact`) and with `reduce: auto` (`reduced`)."""
    root = tmp_path_factory.mktemp("models")
    family.export(root / "exact" / "1" / "model.onnx")
    (root / "reduced" / "1").mkdir(parents=True)
    for file in (root / "exact" / "1").iterdir():
        (root / "reduced" / "1" / file.name).write_bytes(file.read_bytes())
    manifest = {"labels": [str(number) for number in range(family.classes)], **family.manifest}
    reduced = copy.deepcopy(manifest)
    reduced["input"]["reduce"] = "auto"
    write_manifest(root / "exact", manifest)
    write_manifest(root / "reduced", reduced)
    with serving(root) as running:
        yield running


def test_the_same_is_found(family: Family, server: Server, figures: Figures) -> None:
    exact, reduced = Agreement(), Agreement()
    with server.client() as client:
        for name, data in pictures().items():
            theirs = family.reference(data)
            for model, agreement in (("exact", exact), ("reduced", reduced)):
                agreement.add(name, theirs, asked(client, model, data, family.threshold), family.threshold)
    figures[family.name] = exact, reduced
    assert exact.compared >= FEWEST, "too few to say anything"
    assert exact.share >= LEAST, "\n".join(exact.differences[:20])


def asked(client: httpx.Client, model: str, data: bytes, threshold: float) -> list[Found]:
    """The service's answer."""
    options = {"score_threshold": threshold}
    response = client.post(f"/v1/models/{model}/predict", content=data, params=options)
    assert response.status_code == 200, response.text
    rows = response.json()["detections"]
    return [Found(tuple(row["box"]), row["score"], row["class_id"]) for row in rows]


@pytest.mark.parametrize("name", torchvision_models.classifiers())
def test_a_classifier_scores_the_same(name: str, tmp_path: Path, figures: Figures) -> None:
    section, reference = torchvision_models.classifiers()[name]
    torchvision_models.export_classifier(tmp_path / "exact" / "1" / "model.onnx")
    content = {"task": "classification", "like": "torchvision", "labels": [str(number) for number in range(1000)]}
    write_manifest(tmp_path / "exact", {**content, "input": {"size": [224, 224], **section}})
    agreement = Agreement()
    with serving(tmp_path) as server, server.client() as client:
        for data in pictures().values():
            response = client.post("/v1/models/exact/predict", content=data, params={"top_k": 5})
            theirs = reference(data)
            for place, row in enumerate(response.json()["classes"]):
                agreement.compared += 1
                close = abs(row["score"] - theirs[row["class_id"]]) <= SCORE
                agreement.alike += close and row["score"] >= sorted(theirs)[-1 - place] - SCORE
    figures[name] = agreement, Agreement()
    assert agreement.share >= LEAST
