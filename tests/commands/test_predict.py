"""`predict` as a user meets it: options, formats, what is refused before anything is computed."""

import json
from pathlib import Path

import pytest
from PIL import Image
from pycocotools.coco import COCO

from tests.commands.test_cli import GREEN, RED, roo
from tests.fixtures.models import add_box_model, add_colour_model, box_manifest, write_manifest
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "my pictures"
    (folder / "more").mkdir(parents=True)
    (folder / "green.png").write_bytes(solid(GREEN, (320, 200)))
    (folder / "more" / "green.png").write_bytes(solid(RED, (200, 320), "PNG"))
    (folder / "white & black..jpg").write_bytes(solid((255, 255, 255), (64, 64), "JPEG"))
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    add_box_model(root)
    return root


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_several_formats_at_once(pictures: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--format", "coco,yolo", "--format", "csv,crops", "--save-conf")
    done = roo("predict", pictures, "--out", out, *options, "--models-dir", models)
    assert done.returncode == 0, done.stderr
    names = ("green", "more/green", "white & black.")
    assert files_in(out / "labels") == [f"{name}.txt" for name in names]
    assert files_in(out / "crops") == ["green/green-1.jpg", "red/more/green-1.jpg", "red/white & black.-1.jpg"]
    assert (out / "labels" / "green.txt").read_text() == "1 0.5 0.5 0.5 0.5 1\n"
    assert len((out / "predictions.csv").read_text().splitlines()) == 4
    assert sorted(image["file_name"] for image in COCO(out / "coco.json").dataset["images"]) == [
        "green.png",
        "more/green.png",
        "white & black..jpg",
    ]


def test_answers_come_in_the_pictures_order(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(60):
        size = (1000, 1000) if number % 7 == 0 else (20, 20)
        (folder / f"{number:03}.png").write_bytes(solid(GREEN, size))
    (folder / "030.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    out = tmp_path / "out"
    done = roo("predict", folder, "--out", out, "--format", "jsonl,coco", "--models-dir", models)
    assert done.returncode == 1
    assert "030.png" in done.stderr
    expected = [f"{number:03}.png" for number in range(60) if number != 30]
    lines = (out / "predictions.jsonl").read_text().splitlines()
    assert [Path(json.loads(line)["file"]).name for line in lines] == expected
    assert [Path(line.split(": ")[0]).name for line in done.stdout.splitlines()] == expected
    images = json.loads((out / "coco.json").read_text())["images"]
    assert {image["id"]: image["file_name"] for image in images}[60] == "059.png"


def test_options_choose_what_is_answered(pictures: Path, models: Path) -> None:
    def boxes(*options: object) -> list[list[dict[str, object]]]:
        done = roo("predict", pictures, "--json", *options, "--models-dir", models)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["prediction"]["detections"] for line in done.stdout.splitlines()]

    found = boxes("--classes", "green,2", "--normalized", "--iou", "0.5", "--class-agnostic", "--max-detections", "1")
    assert [[each["label"] for each in one] for one in found] == [["green"], [], []]
    assert found[0][0]["box"] == [0.25, 0.25, 0.75, 0.75]


def test_a_running_service_takes_the_same_options(pictures: Path, server: Server, tmp_path: Path) -> None:
    asked = ("predict", pictures, "--json", "--url", server.url)
    done = roo(
        *asked, "--model", "box", "--version", "1", "--classes", "0,green", "--max-detections", "3", "--normalized"
    )
    assert done.returncode == 0, done.stderr
    first, *_ = (json.loads(line)["prediction"] for line in done.stdout.splitlines())
    assert (first["version"], first["detections"][0]["box"]) == ("1", [0.25, 0.25, 0.75, 0.75])
    wrong = roo(*asked, "--classes", "gren")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "Near it is: green" in wrong.stderr
    out = tmp_path / "out"
    assert roo(*asked, "--model", "box", "--format", "yolo,crops", "--out", out).returncode == 0
    assert (out / "classes.txt").read_text().splitlines() == ["red", "green", "blue"]
    refused = roo(*asked, "--format", "yolo", "--out", out)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "the task of colour is classification" in refused.stderr
    gone = roo("predict", pictures, "--url", "http://127.0.0.1:9", "--format", "csv", "--out", out)
    assert gone.returncode == 2
    assert "cannot be asked" in gone.stderr


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("--format", "coco"), "--out DIR"),
        (("--normalized",), "--normalized is for"),
        (("--save-conf", "--format", "coco", "--out", "{out}"), "--save-conf is for"),
        (("--format", "voc", "--out", "{out}"), "There are drawn, json"),
        (("--classes", "gren"), "Near it is: green"),
        (("--model", "box", "--version", "9"), "no version '9'"),
        (("--max-detections", "100000"), "--max-detections:"),
        (("--model", "ended", "--iou", "0.3"), "iou_threshold cannot be obeyed"),
        (("--model", "colour", "--format", "yolo", "--out", "{out}"), "is for detections"),
        (("--out", "{pictures}"), "would overwrite"),
        (("--out", "{pictures}/green.png"), "cannot be written"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_computed(
    pictures: Path, models: Path, tmp_path: Path, options: tuple[str, ...], hint: str
) -> None:
    add_colour_model(models)
    add_box_model(models, "ended")
    section = {"decoder": "boxes_scores", "score_threshold": 0.5, "nms": False}
    write_manifest(models / "ended", box_manifest(detection=section))
    (pictures / "white & black..jpg").rename(pictures / "w.jpg")
    said = [option.format(out=tmp_path / "out", pictures=pictures) for option in options]
    done = roo("predict", pictures, *said, ROO_MODELS_DIR=models, ROO_DEFAULT_MODEL="box")
    assert (done.returncode, done.stdout) == (2, "")
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    with Image.open(pictures / "w.jpg") as untouched:
        assert untouched.size == (64, 64)


def test_a_name_that_no_terminal_should_see_is_shown_by_its_numbers(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "\udcff.png").write_bytes(solid(GREEN))
    (folder / "\x1b[31mred.png").write_bytes(b"none")
    done = roo("predict", folder, "--models-dir", models, PYTHONIOENCODING="utf-8:strict")
    assert done.returncode == 1
    assert done.stdout.startswith(f"{folder}/\\xff.png: 1 green")
    assert "\\x1b[31mred.png" in done.stderr


def test_the_programs_version() -> None:
    done = roo("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("roo-vision ")
