"""What the documents say is tried: the README's commands, the table of metrics, the manifest's fields."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from PIL import Image
from pydantic import BaseModel

from app.commands.output.formats import FORMATS
from app.repository import yaml_text
from app.repository.manifest import Manifest
from app.repository.pipeline import Pipeline, Step, StepOptions, Where
from app.telemetry import metrics
from app.vision.classification import ClassificationSpec
from app.vision.detection import DetectionSpec
from app.vision.embedding import EmbeddingSpec
from app.vision.maps import MapsSpec
from app.vision.mask_spec import MaskSpec
from app.vision.preprocessing import InputSpec
from app.vision.segmentation import SegmentationSpec
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server, serving

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
OUTPUT = (ROOT / "docs" / "output.md").read_text()


@pytest.fixture(scope="module")
def bundled() -> Iterator[Server]:
    """The service with the bundled model, as `make run` starts it."""
    with serving(ROOT / "models") as server:
        yield server


def readme_commands() -> list[str]:
    """Every command of the README's shell blocks, continuation lines joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def shell(command: str, folder: Path) -> str:
    tools = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder in which the README's relative paths lead to this checkout's files."""
    (tmp_path / "models").symlink_to(ROOT / "models")
    for name in ("a.jpg", "b.png"):
        (tmp_path / name).write_bytes(solid((90, 60, 30), (320, 240), "JPEG" if name == "a.jpg" else "PNG"))
    return tmp_path


def test_the_readmes_requests_are_answered(bundled: Server, clone: Path) -> None:
    requests = [command for command in readme_commands() if command.startswith("curl")]
    assert len(requests) >= 5
    for command in requests:
        output = shell(command.replace("localhost:8000", f"127.0.0.1:{bundled.port}") + " --fail -sS", clone)
        if " -o " not in command:
            answer = json.loads(output)
            assert "detections" in answer or all(item["prediction"] for item in answer["results"])
    with Image.open(clone / "answer.jpg") as drawn, Image.open(ROOT / "models/shelf/examples/shelf-1.jpg") as sent:
        assert drawn.size == sent.size


def python_of(document: str, bundled: Server, clone: Path) -> list[str]:
    """What each of a document's Python programs prints."""
    for name in ("a.jpg", "b.png"):
        (clone / name).write_bytes((ROOT / "models/shelf/examples/shelf-1.jpg").read_bytes())
    printed = []
    for program in re.findall(r"^```python\n(.*?)^```", document, re.MULTILINE | re.DOTALL):
        (clone / "ask.py").write_text(program.replace("localhost:8000", f"127.0.0.1:{bundled.port}"))
        printed.append(shell("python ask.py", clone))
    return printed


def test_the_readmes_programs_are_answered(bundled: Server, clone: Path) -> None:
    by_client, by_triton = python_of(README, bundled, clone)
    assert by_client.startswith("[Detection(label=")
    assert by_triton.startswith("[[[")


def test_the_clients_document_is_a_program(bundled: Server, clone: Path) -> None:
    (printed,) = python_of((ROOT / "docs" / "client.md").read_text(), bundled, clone)
    assert printed.count("counts={'carton'") == 2
    assert printed.endswith("['shelf']\n")


def test_the_readmes_picture_shows_sensible_things(bundled: Server) -> None:
    content = (ROOT / "models/shelf/examples/shelf-1.jpg").read_bytes()
    with bundled.client() as client:
        answer = client.post("/v1/predict", content=content).json()
    labels = {item["label"] for item in answer["detections"]}
    assert {"carton", "label"} <= labels
    assert answer["model"] == "shelf"


def test_the_readmes_predict_commands_work(clone: Path) -> None:
    drawn, files = (command for command in readme_commands() if "roo-vision predict" in command)
    pictures = sorted((ROOT / "models/shelf/examples").glob("*.jpg"))
    output = shell(drawn.replace(".venv/bin/", ""), clone)
    assert len(output.splitlines()) == len(pictures)
    assert len(list((clone / "answers").glob("*.jpg"))) == len(pictures)
    shell(files.replace(".venv/bin/", ""), clone)
    assert len(list((clone / "answers" / "labels").glob("*.txt"))) == len(pictures)
    assert {path.name for path in (clone / "answers" / "crops").iterdir()} == {"carton", "label"}


def test_the_commands_about_output_work(bundled: Server, clone: Path) -> None:
    (block,) = re.findall(r"^```sh\n(roo-vision.*?)^```", OUTPUT, re.MULTILINE | re.DOTALL)
    for number, line in enumerate(block.splitlines()):
        command = line.replace("photos/", "models/shelf/examples/shelf-1.jpg").replace("answers", f"answers-{number}")
        output = shell(command.replace("localhost:8000", f"127.0.0.1:{bundled.port}"), clone)
        assert len(output.splitlines()) == 1
    assert {path.name for path in (clone / "answers-2" / "crops").iterdir()} == {"label"}
    assert len((clone / "answers-3" / "predictions.jsonl").read_text().splitlines()) == 1


def test_json_and_pictures_come_in_one_answer_as_documented(bundled: Server, clone: Path) -> None:
    (command,) = re.findall(r"^(curl .*)$", OUTPUT, re.MULTILINE)
    shell(command.replace("localhost:8000", f"127.0.0.1:{bundled.port}"), clone)
    assert (clone / "answer.multipart").read_bytes().count(b"Content-Type: image/jpeg") == 2
    (program,) = re.findall(r"^```python\n(.*?)^```", OUTPUT, re.MULTILINE | re.DOTALL)
    (clone / "a.jpg").write_bytes((ROOT / "models/shelf/examples/shelf-1.jpg").read_bytes())
    (clone / "ask.py").write_text(program.replace("localhost:8000", f"127.0.0.1:{bundled.port}"))
    assert "carton" in shell("python ask.py", clone)
    with Image.open(clone / "0.jpg") as drawn:
        assert drawn.size == (1280, 720)


def test_every_format_is_documented() -> None:
    table = OUTPUT.partition("## Formats")[2].partition("\n\n`NAME`")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(FORMATS)


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for document in (README, *(path.read_text() for path in (ROOT / "docs").glob("*.md"))):
        assert set(re.findall(r"`make ([a-z-]+)`", document)) <= targets


def test_links_between_documents_lead_somewhere() -> None:
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", text, re.MULTILINE)
    documented = {name: (kind, tuple(re.findall(r"\w+", labels))) for name, kind, labels in rows}
    assert documented == {name: (known.kind, known.labels) for name, known in metrics.DECLARED.items()}


def test_no_metric_is_served_that_is_not_declared(server: Server) -> None:
    with server.client() as client:
        client.post("/v1/predict", content=solid((1, 2, 3)))
        text = client.get("/metrics").text
    served = set(re.findall(r"^# TYPE ((?:roo|http)_\w+)", text, re.MULTILINE))
    assert served <= metrics.DECLARED.keys()
    assert {"roo_ready", "roo_pending_seconds", "http_server_request_duration_seconds"} <= served


@pytest.mark.parametrize(
    "section", [InputSpec, DetectionSpec, MaskSpec, ClassificationSpec, SegmentationSpec, EmbeddingSpec, MapsSpec]
)
def test_every_field_of_the_manifest_is_documented(section: type[BaseModel]) -> None:
    text = (ROOT / "docs" / "models.md").read_text()
    documented = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE))))
    assert set(section.model_fields) <= documented


def test_the_documented_manifest_is_one() -> None:
    text = (ROOT / "docs" / "models.md").read_text()
    whole, *parts = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    manifest = yaml.safe_load(whole)
    assert Manifest.model_validate(manifest).task == "detection"
    for part in map(yaml_text.load, parts):
        if "steps" not in part:
            shown = Manifest.model_validate(part if "task" in part else {**manifest, **part})
            assert getattr(shown, shown.task) is not None


def test_the_documented_chains_are_such_and_their_fields_are_all_documented() -> None:
    text = (ROOT / "docs" / "models.md").read_text()
    found = [yaml_text.load(part) for part in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]
    chains = [Pipeline.model_validate(part) for part in found if "steps" in part]
    assert [list(chain.steps) for chain in chains] == [["find", "damage"], ["find", "orientation", "read"]]
    section = text.partition("\n## Chains\n")[2]
    fields = {*Step.model_fields, *Where.model_fields, *StepOptions.model_fields, *Pipeline.model_fields}
    assert {field for field in fields if f"`{field}`" not in section} == set()


def test_the_api_description_is_what_the_documentation_page_shows(server: Server) -> None:
    assert '"openapi.json"' in httpx.get(f"{server.url}/docs/start.js", timeout=20).text
