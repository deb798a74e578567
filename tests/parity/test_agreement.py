"""Each family's file, brought as docs/models.md says and served over HTTP by a process of its own, beside the family's
own code.
"""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fixtures.server import Server, serving
from tests.parity.agreement import SCORE, Agreement, Figures, Found
from tests.parity.families.base import Family
from tests.parity.families.catalog import classifiers, detectors
from tests.parity.families.classifiers import Classifier
from tests.parity.pictures import pictures

LEAST, FEWEST = 0.99, 100
REDUCED = "--set input.reduce=auto"
"""What a user says who wants speed rather than the family's own pixels."""


@pytest.fixture(scope="module", params=detectors(), ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    """One family after the other."""
    chosen: Family = request.param
    return chosen


@pytest.fixture(scope="module")
def server(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with the family's model, as the documents' command adds it (`exact`) and reduced (`reduced`)."""
    root = tmp_path_factory.mktemp("parity")
    file = root / "file" / "model.onnx"
    family.export(file)
    options = f"--task detection {family.options}"
    add(file, root / "models", "exact", family.classes, options)
    add(file, root / "models", "reduced", family.classes, f"{options} {REDUCED}")
    with serving(root / "models") as running:
        yield running


def add(file: Path, out: Path, name: str, classes: int, options: str) -> None:
    """`roo-vision models add`, as a user calls it."""
    names = file.with_name("names.txt")
    names.write_text("\n".join(f"class {number}" for number in range(classes)))
    command = f"models add {file} --labels {names} --out {out} --name {name} {options}"
    done = subprocess.run([sys.executable, "-m", "app", *shlex.split(command)], capture_output=True, text=True)
    assert done.returncode == 0, f"roo-vision {command}\n{done.stdout}{done.stderr}"


def test_the_same_is_found(family: Family, server: Server, figures: Figures) -> None:
    exact, reduced = Agreement(), Agreement()
    with server.client() as client:
        for name, data in pictures().items():
            theirs = family.reference(data)
            for model, agreement in (("exact", exact), ("reduced", reduced)):
                agreement.add(name, theirs, asked(client, model, data, family), family.threshold)
    figures[family.name] = exact, reduced
    assert exact.compared >= FEWEST, "too few to say anything"
    assert exact.share >= LEAST, "\n".join([str(exact), *exact.differences[:20]])


def asked(client: httpx.Client, model: str, data: bytes, family: Family) -> list[Found]:
    """The service's answer."""
    options = {"score_threshold": family.threshold, "max_detections": family.most}
    response = client.post(f"/v1/models/{model}/predict", content=data, params=options)
    assert response.status_code == 200, response.text
    rows = response.json()["detections"]
    return [Found(tuple(row["box"]), row["score"], row["class_id"]) for row in rows]


@pytest.mark.parametrize("classifier", classifiers(), ids=lambda classifier: classifier.name)
def test_a_classifier_scores_the_same(classifier: Classifier, tmp_path: Path, figures: Figures) -> None:
    file = tmp_path / "file" / "model.onnx"
    classifier.export(file)
    options = f"--task classification {classifier.options}"
    add(file, tmp_path / "models", "exact", classifier.classes, options)
    add(file, tmp_path / "models", "reduced", classifier.classes, f"{options} {REDUCED}")
    counted = {"exact": Agreement(), "reduced": Agreement()}
    with serving(tmp_path / "models") as running, running.client() as client:
        for name, data in pictures().items():
            theirs = classifier.reference(data)
            for model, agreement in counted.items():
                compare_scores(name, theirs, best(client, model, data), agreement)
    figures[classifier.name] = counted["exact"], counted["reduced"]
    assert counted["exact"].share >= LEAST, "\n".join(counted["exact"].differences[:20])


def best(client: httpx.Client, model: str, data: bytes) -> list[tuple[int, float]]:
    """The service's five best classes and their scores."""
    response = client.post(f"/v1/models/{model}/predict", content=data, params={"top_k": 5})
    assert response.status_code == 200, response.text
    return [(row["class_id"], row["score"]) for row in response.json()["classes"]]


def compare_scores(picture: str, theirs: list[float], ours: list[tuple[int, float]], agreement: Agreement) -> None:
    """Each of our best classes has nearly their score, and is, but for that, in their place."""
    ranked = sorted(theirs, reverse=True)
    for place, (class_id, score) in enumerate(ours):
        agreement.compared += 1
        if abs(score - theirs[class_id]) <= SCORE and score >= ranked[place] - SCORE:
            agreement.alike += 1
        else:
            agreement.differences.append(f"{picture}: class {class_id}: {score:.4f}, theirs {theirs[class_id]:.4f}")
