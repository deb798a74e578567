"""The committed model is the one the manifest names, and does what its card says."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("zxingcpp")

from models.shelf.training.arrays import CLASSES, LABEL
from models.shelf.training.detect import detect, onnx_network, read_labels
from models.shelf.training.jpeg import encode
from models.shelf.training.manifest import DETECTION, INPUT
from models.shelf.training.scenes import render

FOLDER = Path(__file__).resolve().parents[3] / "models" / "shelf"
MODEL = FOLDER / "1" / "model.onnx"
MANIFEST = yaml.safe_load((FOLDER / "model.yaml").read_text())
CARD = json.loads((FOLDER / "docs" / "metrics.json").read_text())


def test_the_manifest_names_this_file() -> None:
    assert MANIFEST["sha256"]["1"] == hashlib.sha256(MODEL.read_bytes()).hexdigest()
    assert MANIFEST["labels"] == list(CLASSES)
    assert MODEL.stat().st_size <= 8 * 2**20


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


def test_the_model_is_as_good_on_a_fixed_subset_as_its_card_says() -> None:
    """Forty held-out scenes at half resolution; a sample this small may differ from the card by a few hundredths."""
    network, threshold = onnx_network(MODEL), MANIFEST["detection"]["score_threshold"]
    right = asked = said = 0
    for seed in range(40):
        scene = render("test", seed, (640, 360))
        found = detect(network, [encode(scene.image, 92)], threshold)[0]
        free = [truth for truth in scene.truths if not truth.ignore]
        ignored = [truth for truth in scene.truths if truth.ignore]
        asked += len(free)
        for box, kind in zip(found.boxes, found.kinds, strict=True):
            hit = next((t for t in free if t.kind == kind and _iou(box, np.array(t.box)) >= 0.5), None)
            if hit is not None:
                free.remove(hit)
                right += 1
            said += hit is not None or not any(_iou(box, np.array(t.box)) >= 0.3 for t in ignored)
    table = np.array(CARD["confusion"])
    on_card = 2 * np.trace(table[:-1, :-1]) / (table[:-1].sum() + table[:, :-1].sum())
    assert 2 * right / (asked + said) == pytest.approx(on_card, abs=0.06)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared))


def test_labels_of_an_example_are_found_and_read() -> None:
    scene = render("test", 5040, (1280, 720))
    found = detect(onnx_network(MODEL), [encode(scene.image, 92)], MANIFEST["detection"]["score_threshold"])[0]
    texts = {truth.text for truth in scene.truths if truth.kind == LABEL}
    assert texts & set(read_labels(scene.image, found))


def test_one_box_a_cell_and_scores_between_zero_and_one() -> None:
    boxes, scores = onnx_network(MODEL)(np.zeros((2, 3, 416, 416), np.float32))
    assert boxes.shape == (2, 52**2 + 26**2 + 13**2, 4)
    assert scores.shape == (2, 52**2 + 26**2 + 13**2, len(CLASSES))
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert scores.max() < 0.5
