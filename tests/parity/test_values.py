"""Embeddings, maps and several labels, brought as docs/models.md says and served over HTTP by a process of its own,
beside the family's own code.
"""

import base64
import shlex
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from app.cli import cli
from app.vision.maps import decode_plane
from tests.fixtures.server import serving
from tests.parity.agreement import SCORE, Agreement, Figures
from tests.parity.families.catalog import values
from tests.parity.families.values import Values
from tests.parity.pictures import pictures_for_masks
from tests.parity.test_agreement import reduced

COSINE, APART, LEAST = 0.9999, 0.01, 0.99
"""Vectors' cosine; how far a map's numbers may be apart, of its range; the share of places that must be so near."""
LARGEST = 1_300_000
"""Pixels of the largest picture: a map of it has as many."""
ALL = [pytest.param(one, id=one.name) for group in values().values() for one in group]


@pytest.fixture(scope="module")
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Asks a service that has all that are compared, and each with `reduce: auto` as well."""
    root = tmp_path_factory.mktemp("values")
    parameters = (item.callspec.params for item in request.session.items if hasattr(item, "callspec"))
    for one in (each["one"] for each in parameters if isinstance(each.get("one"), Values)):
        file = root / "file" / one.name / "model.onnx"
        one.export(file)
        names = f"--labels {','.join(f'tag-{number}' for number in range(one.classes))}" if one.classes else ""
        command = f"models add {file} --task {one.task} {names} --out {root}/models --name {one.name} {one.options}"
        result = CliRunner().invoke(cli, shlex.split(command))
        assert result.exit_code == 0, f"roo-vision {command}\n{result.output}{result.exception or ''}"
        reduced(root / "models" / one.name)
    with serving(root / "models") as running, running.client() as asking:
        yield asking


@pytest.mark.parametrize("one", ALL)
def test_the_same_is_answered(client: httpx.Client, one: Values, figures: Figures) -> None:
    exact, fast = Agreement(), Agreement()
    theirs = {}
    for name, data in pictures_for_masks(LARGEST).items():
        theirs[name] = one.reference(data)
        _compare(name, theirs[name], asked(client, one, one.name, data), exact)
        _compare(name, theirs[name], asked(client, one, f"{one.name}-reduced", data), fast)
    figures[one.name] = exact, fast
    if one.task == "embedding":
        between = [_cosine(*pair) for pair in combinations(theirs.values(), 2)]
        assert np.median(between) < 0.98, "pictures that differ must differ here, else nothing is shown"
    assert exact.share >= (1 if one.task == "embedding" else LEAST), "\n".join(exact.differences[:20])


def asked(client: httpx.Client, one: Values, model: str, data: bytes) -> NDArray[np.float32]:
    """The service's vector, its map at the picture's size, or the score of each class."""
    options: dict[str, dict[str, Any]] = {
        "embedding": {"embedding_format": "float32"},
        "maps": {"map_size": "original"},
        "classification": {"score_threshold": 0},
    }
    response = client.post(f"/v1/models/{model}/predict", content=data, params=options[one.task])
    assert response.status_code == 200, response.text
    answer = response.json()
    if one.task == "embedding":
        return np.frombuffer(base64.b64decode(answer["embedding"]["base64"]), "<f4")
    if one.task == "maps":
        (found,) = answer["maps"]
        return decode_plane(base64.b64decode(found["png"]), found["scale"], found["offset"])
    scores = {row["class_id"]: row["score"] for row in answer["classes"]}
    return np.array([scores[number] for number in range(one.classes)], np.float32)


def _compare(picture: str, theirs: NDArray[np.float32], ours: NDArray[np.float32], agreement: Agreement) -> None:
    assert theirs.shape == ours.shape
    if theirs.ndim == 2:
        alike = np.abs(theirs - ours) <= APART * np.ptp(theirs)
        agreement.compared += alike.size
        agreement.alike += int(np.count_nonzero(alike))
        agreement.differences.append(f"{picture}: {alike.mean():.4f} of the places")
    elif ours.min() >= 0 and ours.max() <= 1 and abs(float(ours @ ours) - 1) > 1e-3:
        agreement.compared += len(ours)
        agreement.alike += int(np.count_nonzero(np.abs(theirs - ours) <= SCORE))
        agreement.differences.append(f"{picture}: scores up to {np.abs(theirs - ours).max():.4f} apart")
    else:
        cosine = _cosine(theirs, ours)
        agreement.compared += 1
        agreement.alike += int(cosine >= COSINE)
        agreement.differences.append(f"{picture}: cosine {cosine:.6f}")


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    exact = one.astype(np.float64), other.astype(np.float64)
    return float(exact[0] @ exact[1] / np.linalg.norm(exact[0]) / np.linalg.norm(exact[1]))
