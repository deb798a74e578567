"""Each family's file, brought as docs/models.md says and served over HTTP by a process of its own, beside the family's
own code.
"""

import io
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from app.cli import cli
from app.vision import mask_formats
from app.vision.image import Size
from tests.fixtures.server import serving
from tests.parity.agreement import SCORE, Agreement, Figures, Found
from tests.parity.families.base import Family
from tests.parity.families.catalog import classifiers, detectors
from tests.parity.families.classifiers import Classifier
from tests.parity.pictures import pictures

LEAST, FEWEST = 0.99, 100
DETECTORS = [pytest.param(name, one, id=one.name) for name, group in detectors().items() for one in group]
CLASSIFIERS = [pytest.param(name, one, id=one.name) for name, group in classifiers().items() for one in group]


@pytest.fixture(scope="module")
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Asks a service that has the models of one file of families: each as the documents' command adds it, and once more
    with `reduce: auto`.
    """
    root = tmp_path_factory.mktemp(request.param)
    for one in chosen(request.session, request.param):
        file = root / "file" / one.name / "model.onnx"
        one.export(file)
        add(file, root / "models", one)
        reduced(root / "models" / one.name)
    with serving(root / "models") as running, running.client() as asking:
        yield asking


def chosen(session: pytest.Session, module: str) -> list[Family | Classifier]:
    """Those of this file that this run compares."""
    parameters = (item.callspec.params for item in session.items if hasattr(item, "callspec"))
    return [each["one"] for each in parameters if each.get("client") == module]


def add(file: Path, out: Path, one: Family | Classifier) -> None:
    """`roo-vision models add`, as a user calls it."""
    names = file.with_name("names.txt")
    names.write_text("\n".join(f"class {number}" for number in range(one.classes)))
    command = f"models add {file} --task {one.task} --labels {names} --out {out} --name {one.name} {one.options}"
    result = CliRunner().invoke(cli, shlex.split(command))
    assert result.exit_code == 0, f"roo-vision {command}\n{result.output}{result.exception or ''}"


def reduced(entry: Path) -> None:
    """The entry once more, as with `--set input.reduce=auto`: by a user who wants speed rather than the same pixels."""
    copy = entry.with_name(f"{entry.name}-reduced")
    shutil.copytree(entry, copy)
    manifest = yaml.safe_load((copy / "model.yaml").read_text())
    manifest["input"]["reduce"] = "auto"
    (copy / "model.yaml").write_text(yaml.safe_dump(manifest))


@pytest.mark.parametrize(("client", "one"), DETECTORS, indirect=["client"], scope="module")
def test_the_same_is_found(client: httpx.Client, one: Family, figures: Figures) -> None:
    exact, fast = Agreement(), Agreement()
    for name, data in one.pictures().items():
        theirs = one.reference(data)
        pixel = max(Image.open(io.BytesIO(data)).size) / one.size
        exact.add(name, theirs, asked(client, one.name, data, one), one.threshold, pixel)
        fast.add(name, theirs, asked(client, f"{one.name}-reduced", data, one), one.threshold, pixel)
    figures[one.name] = exact, fast
    assert exact.compared >= FEWEST, "too few to say anything"
    assert exact.share >= LEAST, "\n".join([str(exact), *exact.differences[:20]])


def asked(client: httpx.Client, model: str, data: bytes, family: Family) -> list[Found]:
    """The service's answer."""
    options = {"score_threshold": family.threshold, "max_detections": family.most}
    options |= {"masks": "rle"} if family.masks else {}
    response = client.post(f"/v1/models/{model}/predict", content=data, params=options)
    assert response.status_code == 200, response.text
    rows = response.json()["detections"]
    return [
        Found(tuple(row["box"]), row["score"], row["class_id"], in_pixels(row.get("mask")), *places(row))
        for row in rows
    ]


def places(row: dict[str, Any]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """An answer's keypoints and the corners of its turned box."""
    points, polygon = row.get("keypoints"), row.get("polygon")
    return (
        None if points is None else np.array([[point["x"], point["y"], point["score"]] for point in points]),
        None if polygon is None else np.array(polygon).reshape(4, 2),
    )


def in_pixels(mask: dict[str, Any] | None) -> np.ndarray | None:
    """An answer's run lengths, of a picture that is small enough to have a grid of its pixels."""
    if mask is None:
        return None
    height, width = mask["size"]
    return mask_formats.of_runs(mask_formats.expanded(mask["counts"]), Size(width, height)) > 0


@pytest.mark.parametrize(("client", "one"), CLASSIFIERS, indirect=["client"], scope="module")
def test_a_classifier_scores_the_same(client: httpx.Client, one: Classifier, figures: Figures) -> None:
    exact, fast = Agreement(), Agreement()
    for name, data in pictures().items():
        theirs = one.reference(data)
        compare_scores(name, theirs, best(client, one.name, data), exact)
        compare_scores(name, theirs, best(client, f"{one.name}-reduced", data), fast)
    figures[one.name] = exact, fast
    assert exact.share >= LEAST, "\n".join(exact.differences[:20])


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
