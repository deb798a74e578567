"""Files that `predict` writes, read by those who are to read them."""

import base64
import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from app.commands.output.base import Answered, AskedModel, Wanted
from app.commands.output.formats import Outputs, read_formats
from app.errors import StartupError
from app.vision.segmentation import encode_map
from app.wire.examples import DETECTION_EXAMPLE, SEGMENTATION_EXAMPLE
from app.wire.prediction import Prediction
from tests.fixtures.pictures import solid

LABELS = ("cat", "a/b", "a_b", "..")
MODEL = AskedModel("zoo", "detection", LABELS)
SIZE = (400, 200)
PICTURE = solid((10, 20, 30), SIZE)


def detection(class_id: int, *box: float, score: float = 0.5, texts: Sequence[str] = ()) -> dict[str, Any]:
    codes = [{"text": text, "format": "QR Code"} for text in texts]
    first = {"text": texts[0], "format": "QR Code"} if texts else {}
    label = LABELS[class_id] if class_id < len(LABELS) else f"class {class_id}"
    return {"label": label, "class_id": class_id, "score": score, "box": box, "codes": codes, **first}


def answered(number: int, *detections: dict[str, Any], path: str = "", size: tuple[int, int] = SIZE) -> Answered:
    image = {"width": size[0], "height": size[1]}
    prediction = Prediction.model_validate({**DETECTION_EXAMPLE, "image": image, "detections": detections})
    name = path.rpartition(".")[0] or f"shop/{number}"
    return Answered(number, Path(path or f"photos/shop/{number}.jpg"), path or f"shop/{number}.jpg", name, prediction)


def write(out: Path, formats: str, *pictures: Answered, content: bytes = PICTURE, **wanted: Any) -> None:
    outputs = Outputs(read_formats([formats]), Wanted(out, wanted.pop("model", MODEL), **wanted))
    for picture in pictures:
        outputs.save(picture, content)
        outputs.append(picture)
    outputs.close()


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


FOUND = (
    answered(0, detection(0, 10, 20, 110, 70, score=0.9), detection(1, 0, 0, 50.5, 40, texts=["A1", "B2"])),
    answered(1),
    answered(3, detection(6, 200, 100, 400, 200)),
)


def test_coco_is_read_and_evaluated_by_cocos_own_code(tmp_path: Path) -> None:
    write(tmp_path, "coco", *FOUND)
    truth = COCO(tmp_path / "coco.json")
    assert [image["file_name"] for image in truth.loadImgs([1, 2, 4])] == ["shop/0.jpg", "shop/1.jpg", "shop/3.jpg"]
    assert {each["id"]: each["name"] for each in truth.loadCats(truth.getCatIds())} == {
        **dict(enumerate(LABELS, 1)),
        5: "class 4",
        6: "class 5",
        7: "class 6",
    }
    (first, coded) = truth.loadAnns(truth.getAnnIds(imgIds=[1]))
    assert (first["bbox"], first["area"], first["category_id"]) == ([10, 20, 100, 50], 5000, 1)
    assert coded["attributes"] == {"text": "A1", "format": "QR Code"}
    assert truth.getAnnIds(imgIds=[2]) == []
    results = truth.loadRes(str(tmp_path / "coco-results.json"))
    assert [each["score"] for each in results.loadAnns(results.getAnnIds())] == [0.9, 0.5, 0.5]
    judge = COCOeval(truth, results, "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(1.0)


def test_coco_of_nothing_is_still_json(tmp_path: Path) -> None:
    write(tmp_path, "coco")
    assert json.loads((tmp_path / "coco-results.json").read_text()) == []
    assert COCO(tmp_path / "coco.json").getCatIds() == [1, 2, 3, 4]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coco-results.json", "coco.json"]


def test_yolo_has_a_file_a_picture_and_shares_of_it(tmp_path: Path) -> None:
    write(tmp_path, "yolo", *FOUND)
    lines = (tmp_path / "labels" / "shop" / "0.txt").read_text().splitlines()
    assert lines == ["0 0.15 0.225 0.25 0.25", "1 0.063125 0.1 0.12625 0.2"]
    assert (tmp_path / "labels" / "shop" / "1.txt").read_text() == ""
    assert (tmp_path / "labels" / "shop" / "3.txt").read_text() == "6 0.75 0.75 0.5 0.5\n"
    names = [*LABELS, "class 4", "class 5", "class 6"]
    assert (tmp_path / "classes.txt").read_text().splitlines() == names
    data = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert (data["nc"], data["names"]) == (7, dict(enumerate(names)))


def test_yolo_has_the_score_last_where_asked(tmp_path: Path) -> None:
    write(tmp_path, "yolo", FOUND[0], save_conf=True)
    assert (tmp_path / "labels" / "shop" / "0.txt").read_text().splitlines()[0] == "0 0.15 0.225 0.25 0.25 0.9"


def test_csv_has_a_row_a_detection_with_its_barcodes(tmp_path: Path) -> None:
    write(tmp_path, "csv", *FOUND)
    (first, coded, last) = rows_of(tmp_path)
    assert first == {
        "file": "photos/shop/0.jpg",
        "width": "400",
        "height": "200",
        "label": "cat",
        "class_id": "0",
        "score": "0.9",
        **dict(zip(("x1", "y1", "x2", "y2"), ("10.0", "20.0", "110.0", "70.0"), strict=True)),
        "text": "",
        "format": "",
        "other_texts": "",
    }
    assert (coded["text"], coded["format"], coded["other_texts"]) == ("A1", "QR Code", "B2")
    assert last["file"] == "photos/shop/3.jpg"


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-2", "@SUM(A1)", "\t=1", "\r\n=1", "\n=1", "＝1"])  # noqa: RUF001
def test_what_a_code_says_is_no_formula(tmp_path: Path, text: str) -> None:
    write(tmp_path, "csv", answered(0, detection(0, 1, 2, 3, 4, texts=[text, text]), path="=1+1.jpg"))
    (row,) = rows_of(tmp_path)
    assert (row["text"], row["other_texts"], row["file"]) == (f"'{text}", f"'{text}", "'=1+1.jpg")


def test_csv_keeps_texts_with_separators_whole(tmp_path: Path) -> None:
    text = 'a,"b"\nc;\x1d\0 ü'
    write(tmp_path, "csv", answered(0, detection(0, 1, 2, 3, 4, texts=[text])))
    assert rows_of(tmp_path)[0]["text"] == text


def test_a_name_that_is_no_text_is_written_all_the_same(tmp_path: Path) -> None:
    picture = answered(0, detection(0, 1, 2, 3, 4), path="\udcff.jpg")
    write(tmp_path, "csv,json,jsonl,coco,yolo,drawn,crops", picture)
    assert rows_of(tmp_path)[0]["file"] == "\\xff.jpg"
    assert json.loads((tmp_path / "predictions.jsonl").read_text())["file"] == "\udcff.jpg"
    assert (tmp_path / "\udcff.jpg").exists()


def test_csv_of_the_other_tasks(tmp_path: Path) -> None:
    classes = [{"label": "cat", "class_id": 0, "score": 0.75}, {"label": "dog", "class_id": 1, "score": 0.25}]
    prediction = Prediction.model_validate({**DETECTION_EXAMPLE, "detections": None, "classes": classes})
    picture = Answered(0, Path("a.jpg"), "a.jpg", "a", prediction)
    write(tmp_path, "csv", picture, model=AskedModel("c", "classification", ("cat", "dog")))
    assert [(row["label"], row["score"]) for row in rows_of(tmp_path)] == [("cat", "0.75"), ("dog", "0.25")]
    picture = Answered(0, Path("a.jpg"), "a.jpg", "a", Prediction.model_validate(SEGMENTATION_EXAMPLE))
    write(tmp_path, "csv", picture, model=AskedModel("s", "segmentation", ("floor",)), normalized=True)
    row = rows_of(tmp_path)[0]
    assert set(row) == {"file", "width", "height", "label", "class_id", "share", "x1", "y1", "x2", "y2"}
    assert 0 <= float(row["x1"]) < float(row["x2"]) <= 1


def test_json_may_have_boxes_in_shares(tmp_path: Path) -> None:
    write(tmp_path, "json,jsonl", *FOUND, normalized=True)
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == ["photos/shop/0.jpg", "photos/shop/1.jpg", "photos/shop/3.jpg"]
    assert lines[0] == json.loads((tmp_path / "json" / "shop" / "0.json").read_text())
    told = Prediction.model_validate(lines[0]["prediction"])
    assert told.coordinates == "normalized"
    assert told.detections is not None
    assert told.detections[0].box == (0.025, 0.1, 0.275, 0.35)


def test_json_of_a_segmentation_in_shares(tmp_path: Path) -> None:
    class_map = {"png": base64.b64encode(encode_map(np.zeros((2, 4), np.uint8))).decode(), "width": 4, "height": 2}
    told = {
        "segments": [{"label": "cat", "class_id": 0, "share": 1.0, "box": (0, 0, 200, 200)}],
        "map": {**class_map, "box": (0, 0, 400, 200)},
    }
    image = {"width": 400, "height": 200}
    prediction = Prediction.model_validate({**SEGMENTATION_EXAMPLE, "image": image, "segmentation": told})
    model = AskedModel("s", "segmentation", ("cat",))
    write(tmp_path, "jsonl,drawn", Answered(0, Path("a.png"), "a.png", "a", prediction), model=model, normalized=True)
    found = json.loads((tmp_path / "predictions.jsonl").read_text())["prediction"]["segmentation"]
    assert (found["segments"][0]["box"], found["map"]["box"]) == ([0, 0, 0.5, 1], [0, 0, 1, 1])
    with Image.open(tmp_path / "a.jpg") as drawn:
        assert drawn.size == SIZE


def quadrants() -> bytes:
    """A JPEG of 200 x 400 pixels that is to be turned: upright, its left half is red and its right half blue."""
    upright = Image.new("RGB", SIZE, (255, 0, 0))
    upright.paste((0, 0, 255), (200, 0, 400, 200))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", quality=95, exif=exif)
    return buffer.getvalue()


def test_crops_are_cut_from_the_upright_picture(tmp_path: Path) -> None:
    content = quadrants()
    boxes = [(20.4, 30.2, 120.6, 90), (250, 0, 400, 200), (399.9, 199.9, 400, 200), (3, 3, 3, 3)]
    write(
        tmp_path, "crops", answered(0, *(detection(number, *box) for number, box in enumerate(boxes))), content=content
    )
    crops = {path.relative_to(tmp_path / "crops").as_posix(): path for path in (tmp_path / "crops").rglob("*.jpg")}
    assert sorted(crops) == ["_/shop/0-4.jpg", "a_b-2/shop/0-3.jpg", "a_b/shop/0-2.jpg", "cat/shop/0-1.jpg"]
    expected = {"cat/shop/0-1.jpg": ((101, 60), (255, 0, 0)), "a_b/shop/0-2.jpg": ((150, 200), (0, 0, 255))}
    for name, (size, colour) in expected.items():
        with Image.open(crops[name]) as crop:
            assert crop.size == size
            assert np.allclose(np.asarray(crop).mean(axis=(0, 1)), colour, atol=12)
    with Image.open(crops["a_b-2/shop/0-3.jpg"]) as crop:
        assert crop.size == (1, 1)


def test_crops_of_before_are_not_mixed_with_new_ones(tmp_path: Path) -> None:
    write(tmp_path, "crops", FOUND[0])
    with pytest.raises(StartupError, match="holds crops already"):
        write(tmp_path, "crops", FOUND[0])


@pytest.mark.parametrize(
    "label", ["", ".", "..", "../../etc", "CON", "nul.txt", "a\0b", "x" * 500, "日本 \u202e", " . "]
)
def test_a_label_is_never_a_way_out_of_the_folder(tmp_path: Path, label: str) -> None:
    found = {**detection(0, 1, 1, 9, 9), "label": label}
    write(tmp_path, "crops", answered(0, found, path="p.jpg"), model=AskedModel("zoo", "detection", (label,)))
    (crop,) = tmp_path.rglob("*.jpg")
    assert crop.parents[1] == tmp_path / "crops"
    assert crop.parent.name.upper() not in ("CON", "NUL.TXT")


@pytest.mark.parametrize("formats", ["yolo", "csv,coco", "crops"])
def test_formats_of_detections_are_refused_for_other_models(tmp_path: Path, formats: str) -> None:
    out = tmp_path / "out"
    with pytest.raises(StartupError, match="is for detections, but the task of colour is classification"):
        write(out, formats, model=AskedModel("colour", "classification", ("red",)))
    assert not out.exists()


def test_formats_are_named_one_by_one_or_together() -> None:
    assert read_formats(["coco, YOLO", "csv", "coco"]) == ("coco", "yolo", "csv")
    with pytest.raises(StartupError, match=r"'voc'.* There are drawn, json, jsonl, coco, yolo, csv, crops"):
        read_formats(["coco,voc"])


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match=r"cannot be written: .* Give another --out"):
        write(tmp_path / "file" / "out", "csv")
    (tmp_path / "predictions.csv").mkdir()
    with pytest.raises(StartupError, match=r"predictions.csv cannot be written: Is a directory"):
        write(tmp_path, "coco,csv")
    assert json.loads((tmp_path / "coco.json").read_text())["images"] == []


SHARED = [
    ("csv", "predictions.csv"),
    ("coco", "coco.json"),
    ("coco", "coco-results.json"),
    ("jsonl", "predictions.jsonl"),
]


@pytest.mark.parametrize(("format_", "file"), SHARED)
def test_a_disk_that_fills_up_is_said(tmp_path: Path, format_: str, file: str) -> None:
    (tmp_path / file).symlink_to("/dev/full")
    with pytest.raises(StartupError, match="cannot be written: No space left on device"):
        write(tmp_path, format_, *FOUND)
