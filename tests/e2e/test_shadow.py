"""A candidate that is tried unsent, in a real service: what it says otherwise is counted, kept and listed."""

import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.commands.output.drawn import to_arrays
from app.core.request import InferenceResult, Timings
from app.core.shadow import Difference
from app.monitoring.differing import DifferingPictures
from app.vision.agreement import Agreement
from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.image import Size, read_header
from app.wire.prediction import Prediction, TimingsMs
from tests.fixtures.models import add_versions
from tests.fixtures.pictures import solid
from tests.fixtures.server import serving
from tests.fixtures.waiting import until


def counted(client: httpx.Client, name: str) -> float:
    text = client.get("/metrics").text
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def test_a_candidate_that_answers_otherwise_is_seen(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    changes = {"traffic": {"1": 100}, "shadow": {"2": 100}, "classification": {"top_k": 1, "score_threshold": 0.6}}
    add_versions(tmp_path / "models", **changes | {"classification": changes["classification"] | {"softmax": False}})
    with serving(tmp_path / "models", shadow_dir=kept) as server, server.client() as client:
        for number in range(4):
            sent = client.post("/v1/predict", content=solid((255, 255, 255)), headers={"x-request-id": f"r{number}"})
            assert sent.json()["version"] == "1"
            until(lambda number=number: counted(client, "roo_shadow_total") == number + 1)  # type: ignore[misc]
        assert counted(client, "roo_shadow_agreement_ratio_count") == 4
        until(lambda: len(list(kept.glob("colour/1-2/*.json"))) == 4)
        assert client.get("/v1/models/colour").json()["shadow"] == {"2": 100}
        server.terminate()
        assert server.wait() == 0
    result = CliRunner().invoke(cli, ["models", "shadow-report", str(kept), "--json"])
    told = json.loads(result.stdout)
    assert {each["request_id"] for each in told} == {f"r{number}" for number in range(4)}
    for each in told:
        assert (each["agreement"], each["sent"]["version"], each["candidate"]["version"]) == (0, "1", "2")
        assert each["sent"]["classes"][0]["score"] == 1
        assert each["candidate"]["classes"] == []
        assert Path(each["picture"]).read_bytes() == solid((255, 255, 255))
    table = CliRunner().invoke(cli, ["models", "shadow-report"], env={"ROO_SHADOW_DIR": str(kept)})
    assert (table.exit_code, "version 1 sent, version 2 compared (4 pictures" in table.stdout) == (0, True)


def difference(number: int, agree: int) -> Difference:
    """A picture about whose ten things so many agree."""

    def answer(version: str) -> InferenceResult:
        found = Classification(np.array([1]), np.array([0.5], np.float32), ("green",))
        timings = Timings(0, 0, 0, 0, 0)
        return InferenceResult(f"r{number}", "colour", version, ("red", "green"), found, Size(8, 8), 1, timings, 0)

    agreement = Agreement(10, agree, 10 - agree)
    return Difference(solid((number, 0, 0)), "image/png", answer("1"), answer("2"), agreement)


def test_those_that_differ_most_stay_also_over_a_restart(tmp_path: Path) -> None:
    agreeing = [9, 3, 7, 10, 1, 5, 8, 2]
    for number, agree in enumerate(agreeing):
        DifferingPictures(tmp_path, most=3).keep(difference(number, agree))
    names = sorted(file.name for file in (tmp_path / "colour" / "1-2").iterdir())
    assert [name[:6] for name in names if name.endswith(".json")] == ["0.1000", "0.2000", "0.3000"]
    assert len(names) == 6


def test_a_folder_that_cannot_be_written_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    keeping: Any = DifferingPictures(tmp_path / "file")
    for number in range(3):
        keeping.keep(difference(number, 1))
    assert len([record for record in caplog.records if "cannot be kept" in record.message]) == 1


def report(*options: Path | str) -> Any:
    return CliRunner().invoke(cli, ["models", "shadow-report", *map(str, options)])


def test_what_differs_most_is_drawn(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    for number, agree in enumerate([9, 3, 7]):
        DifferingPictures(kept).keep(difference(number, agree))
    assert report(kept, "--out", tmp_path / "page.html", "--most", "2").exit_code == 0
    page = (tmp_path / "page.html").read_text()
    assert re.findall(r"<b>(\d+)% alike", page) == ["30", "70"]
    assert "request r1 " in page
    pictures = [b64decode(found) for found in re.findall(r"data:image/jpeg;base64,([^\"]+)", page)]
    assert [read_header(content).upright.width for content in pictures] == [2 * 760 + 6] * 2
    assert report(kept, "--out", tmp_path / "sheet.png").exit_code == 0
    sheet = read_header((tmp_path / "sheet.png").read_bytes()).upright
    assert sheet.width == 2 * 760 + 6
    assert sheet.height > 3 * 570
    assert "ends in .html, .png, .jpg" in str(report(kept, "--out", tmp_path / "sheet.gif").exception)


def test_what_cannot_be_drawn_is_left_out_and_said(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    for number in range(2):
        DifferingPictures(kept).keep(difference(number, number))
    first, second = sorted((kept / "colour" / "1-2").glob("*.png"))
    first.write_bytes(b"no picture")
    drawn = report(kept, "--out", tmp_path / "page.html")
    assert (drawn.exit_code, f"left out: {first}: " in drawn.output) == (0, True)
    second.unlink()
    assert "None of the pictures can be drawn" in str(report(kept, "--out", tmp_path / "page.html").exception)


def test_boxes_that_were_asked_for_as_shares_lie_where_those_in_pixels_do(tmp_path: Path) -> None:
    told: dict[str, Any] = {"model": "box", "version": "1", "request_id": "r", "image": {"width": 200, "height": 100}}
    told |= {"batch_size": 1, "timings_ms": dict.fromkeys(TimingsMs.model_fields, 0.0), "coordinates": "normalized"}
    box = {"label": "red", "class_id": 0, "score": 0.5, "box": [0.1, 0.2, 0.5, 1]}
    found = to_arrays(Prediction.model_validate(told | {"detections": [box]}))
    assert isinstance(found, Detections)
    np.testing.assert_allclose(found.boxes, [[20, 20, 100, 100]])


def test_a_report_of_nothing_says_how_something_comes(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["models", "shadow-report", str(tmp_path)])
    assert "ROO_SHADOW_DIR" in str(result.exception or result.output)
