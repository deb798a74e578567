"""The committed model is the one the manifest names, and does what its card says."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("zxingcpp")

from app.host.cpu import integer_instructions
from models.shelf.training.arrays import CLASSES, LABEL
from models.shelf.training.corpus import CAMERA_SIZES, save
from models.shelf.training.detect import detect, onnx_network, read_labels
from models.shelf.training.jpeg import encode
from models.shelf.training.manifest import DETECTION, INPUT
from models.shelf.training.matching import confusion, f1
from models.shelf.training.scenes import render

FOLDER = Path(__file__).resolve().parents[3] / "models" / "shelf"
MODEL = FOLDER / "1" / "model.onnx"
QUANTIZED = FOLDER / "1" / "model.int8.onnx"
MANIFEST = yaml.safe_load((FOLDER / "model.yaml").read_text())
CARD = json.loads((FOLDER / "docs" / "metrics.json").read_text())


def test_the_manifest_names_this_file() -> None:
    assert MANIFEST["sha256"]["1"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (MODEL, QUANTIZED)
    }
    assert MANIFEST["labels"] == list(CLASSES)
    assert MODEL.stat().st_size <= 8 * 2**20
    assert QUANTIZED.stat().st_size <= 2.5 * 2**20


def test_the_manifest_says_what_evaluation_assumed() -> None:
    assert MANIFEST["input"] == INPUT
    assert {**MANIFEST["detection"], "score_threshold": 0} == {**DETECTION, "score_threshold": 0}
    assert MANIFEST["detection"]["read_barcodes"] is True
    assert MANIFEST["batching"] == {"max_size": 16, "max_size_cpu": 1}


def test_the_cards_table_is_the_measured_one() -> None:
    card = (FOLDER / "README.md").read_text()
    for name, value in CARD["classes"].items():
        assert f"| {name} | {value['mAP50']:.3f} | {value['mAP50-95']:.3f} |" in card
    assert f"| **all** | **{CARD['mAP50']:.3f}** | **{CARD['mAP50-95']:.3f}** |" in card


def test_the_committed_examples_fit_and_are_annotated() -> None:
    document = json.loads((FOLDER / "examples" / "annotations.json").read_text())
    assert [image["file_name"] for image in document["images"]] == [f"shelf-{number}.jpg" for number in range(1, 5)]
    for image in document["images"]:
        assert (FOLDER / "examples" / image["file_name"]).stat().st_size <= 250_000
    assert {note["category_id"] for note in document["annotations"]} == set(range(1, len(CLASSES) + 1))


def test_the_model_is_as_good_as_its_card_says_on_the_first_scenes(tmp_path: Path) -> None:
    """Drawn again, and measured again as for the card; another processor may round a box or two differently."""
    expected, network, quantized = np.array(CARD["first"]), onnx_network(MODEL), onnx_network(QUANTIZED)
    truth, found, found_in_integers = {}, {}, {}
    for seed in range(12):
        scene = render("test", seed, CAMERA_SIZES[seed % len(CAMERA_SIZES)])
        truth[seed] = save(scene, tmp_path / "scene.jpg", 92)["annotations"]
        packed = [(tmp_path / "scene.jpg").read_bytes()]
        found[seed] = detect(network, packed, 0.02)[0]
        found_in_integers[seed] = detect(quantized, packed, 0.02)[0]
    table = confusion(truth, found, MANIFEST["detection"]["score_threshold"])
    in_integers = confusion(truth, found_in_integers, MANIFEST["detection"]["score_threshold"])
    assert table[:-1].sum() == pytest.approx(expected[:-1].sum(), abs=3), "as many objects are asked for"
    assert f1(table) == pytest.approx(f1(expected), abs=0.02)
    if integer_instructions() is not None:  # without them sums saturate, and the service takes fp32
        assert f1(in_integers) == pytest.approx(f1(table), abs=0.02)
    assert f1(expected) == pytest.approx(f1(np.array(CARD["confusion"])), abs=0.1), "no other model's numbers"


def test_labels_of_an_example_are_found_and_read() -> None:
    scene = render("test", 5027, (1280, 720))
    found = detect(onnx_network(MODEL), [encode(scene.image, 92)], MANIFEST["detection"]["score_threshold"])[0]
    texts = {truth.text for truth in scene.truths if truth.kind == LABEL}
    assert texts & set(read_labels(scene.image, found))


def test_one_box_a_cell_and_scores_between_zero_and_one() -> None:
    boxes, scores = onnx_network(MODEL)(np.zeros((2, 3, 320, 512), np.float32))
    assert boxes.shape == (2, 64 * 40 + 32 * 20 + 16 * 10, 4)
    assert scores.shape == (2, 64 * 40 + 32 * 20 + 16 * 10, len(CLASSES))
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert scores.max() < 0.5
