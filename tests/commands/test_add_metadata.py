"""Adding what Ultralytics exported: its metadata says the task, the names and how the outputs are read."""

from pathlib import Path

import numpy as np
import pytest

from app.commands import ultralytics
from app.errors import InvalidManifest
from app.vision.image import Size
from tests.commands.test_add import added, refusal, save_constant, table
from tests.commands.test_add_readings import logits, rows_of_six, unit
from tests.commands.test_cli import roo
from tests.commands.test_inspect import with_metadata
from tests.fixtures.models import save_mean_colour

NAMES = "{0: 'a', 1: 'b'}"


def exported(path: Path, values: np.ndarray, task: str = "detect", **metadata: str) -> Path:
    file = save_constant(path, output0=np.ascontiguousarray(values))
    return with_metadata(file, **{"task": task, "names": NAMES, "stride": "32", "imgsz": "[32, 32]", **metadata})


def test_a_detector_needs_no_options(tmp_path: Path) -> None:
    manifest = added(exported(tmp_path / "a.onnx", table(50, 6).T), task=None)  # type: ignore[arg-type]
    assert (manifest["task"], manifest["like"], manifest["detection"]) == (
        "detection",
        "ultralytics",
        {"decoder": "yolo"},
    )
    assert (tmp_path / "models" / "it" / "labels.txt").read_text() == "a\nb\n"


@pytest.mark.parametrize(
    ("task", "values", "metadata", "section"),
    [
        ("detect", rows_of_six(classes=2), {"end2end": "True"}, {"decoder": "end_to_end"}),
        ("detect", rows_of_six(classes=2), {"args": "{'nms': True}"}, {"decoder": "end_to_end"}),
        ("segment", np.concatenate([table(90, 6), logits(90, 32)], 1).T, {}, {"decoder": "yolo", "extras": 32}),
        (
            "pose",
            np.concatenate([table(90, 6), logits(90, 51)], 1).T,
            {"kpt_shape": "[17, 3]"},
            {"decoder": "yolo", "extras": 51, "keypoints": {"names": [str(number) for number in range(17)]}},
        ),
        (
            "pose",
            np.concatenate([table(90, 5), logits(90, 51)], 1).T,
            {"kpt_shape": "[17, 3]", "names": "{0: 'person'}"},
            {"decoder": "yolo", "extras": 51, "keypoints": {"names": "coco"}},
        ),
        (
            "pose",
            np.concatenate([rows_of_six(classes=2), logits(len(rows_of_six(classes=2)), 4)], 1),
            {"kpt_shape": "(2, 2)", "kpt_names": "{0: ['head', 'tail'], 1: ['head', 'tail']}", "end2end": "True"},
            {"decoder": "end_to_end", "extras": 4, "keypoints": {"names": ["head", "tail"], "dimensions": 2}},
        ),
        (
            "obb",
            np.concatenate([rows_of_six(classes=2), logits(len(rows_of_six(classes=2)), 1)], 1),
            {"args": "{'nms': True}"},
            {"decoder": "end_to_end", "extras": 1, "rotated": True},
        ),
        ("obb", table(90, 7).T, {}, {"decoder": "yolo", "extras": 1, "rotated": True}),
        (
            "detect",
            table(300, 6) / 40,
            {"description": "Ultralytics RT-DETR-l model"},
            {"decoder": "yolo", "transposed": True, "coordinates": "normalized", "nms": False},
        ),
    ],
)
def test_every_kind_is_read_as_it_was_exported(
    tmp_path: Path, task: str, values: np.ndarray, metadata: dict[str, str], section: dict[str, object]
) -> None:
    manifest = added(exported(tmp_path / "a.onnx", values, task, **metadata), task=None)  # type: ignore[arg-type]
    assert manifest["detection"] == section


def test_masks_come_from_the_other_output(tmp_path: Path) -> None:
    values = np.concatenate([table(90, 6), logits(90, 32)], 1).T
    prototypes = np.random.default_rng(1).normal(0, 1, (32, 8, 8)).astype(np.float32)
    file = save_constant(tmp_path / "a.onnx", output0=np.ascontiguousarray(values), output1=prototypes)
    with_metadata(file, task="segment", names=NAMES, stride="32", imgsz="[32, 32]")
    assert added(file, task=None)["detection"] == {  # type: ignore[arg-type]
        "decoder": "yolo",
        "extras": 32,
        "outputs": ["output0"],
        "masks": {"kind": "prototypes", "output": "output1"},
    }


def test_other_prototypes_than_coefficients_are_refused(tmp_path: Path) -> None:
    values = np.concatenate([table(90, 6), logits(90, 32)], 1).T
    wrong = np.zeros((16, 8, 8), np.float32)
    file = save_constant(tmp_path / "a.onnx", output0=np.ascontiguousarray(values), output1=wrong)
    with_metadata(file, task="segment", names=NAMES, stride="32", imgsz="[32, 32]")
    assert "output1 is 16 prototypes, but each candidate has 32 coefficients" in refusal(file, task=None)  # type: ignore[arg-type]


def test_a_classifier_and_the_size_of_a_free_graph(tmp_path: Path) -> None:
    save_mean_colour(tmp_path / "a.onnx", size="side")  # type: ignore[arg-type]
    with_metadata(tmp_path / "a.onnx", task="classify", names="['r', 'g', 'b']", imgsz="[20, 24]")
    manifest = added(tmp_path / "a.onnx", task=None)  # type: ignore[arg-type]
    assert (manifest["task"], manifest["input"]["size"], manifest["like"]) == (
        "classification",
        [24, 20],
        "ultralytics",
    )


def test_what_is_given_counts_for_more(tmp_path: Path) -> None:
    file = exported(tmp_path / "a.onnx", rows_of_six(classes=2))
    section = added(file, labels="x,y", decoder="end_to_end")["detection"]
    assert section == {"decoder": "end_to_end"}
    assert (tmp_path / "models" / "it" / "labels.txt").read_text() == "x\ny\n"


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"names": NAMES, "task": "semantic"}, "it does semantic, which is not read"),
        ({"names": "{0: 'a', 2: 'c'}", "task": "detect"}, "names no class 1, but higher ones"),
    ],
)
def test_metadata_of_what_is_not_read_is_refused(metadata: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidManifest, match=words):
        ultralytics.read(metadata, ("output0",))


def test_names_that_are_wrong_are_said_to_be_the_metadatas_and_can_be_given(tmp_path: Path) -> None:
    file = exported(tmp_path / "a.onnx", np.ascontiguousarray(table(50, 7).T))
    message = refusal(file, task=None)  # type: ignore[arg-type]
    assert "The model has 3 classes, but the graph's metadata names 2. Give the right names with --labels." in message
    assert added(file, task=None, labels="x,y,z")["like"] == "ultralytics"  # type: ignore[arg-type]
    (tmp_path / "gaps").mkdir()
    file = with_metadata(file.rename(tmp_path / "gaps" / "a.onnx"), names="{0: 'a', 2: 'c'}", task="detect")
    assert "the graph's metadata names no class 1" in refusal(file, task=None)  # type: ignore[arg-type]
    assert added(file, task=None, labels="x,y,z")["like"] == "ultralytics"  # type: ignore[arg-type]


@pytest.mark.parametrize("names", ["", "nonsense(", "{'a': 1}", "3", "[" * 5000])
def test_names_that_are_none_say_nothing(names: str) -> None:
    assert ultralytics.read({"names": names, "task": "detect"}, ("output0",)) == ultralytics.Told()


def test_names_alone_are_taken(tmp_path: Path) -> None:
    told = ultralytics.read({"names": NAMES, "stride": "32", "imgsz": "[320, 640]"}, ("output0",))
    assert (told.task, told.labels, told.size, told.like) == (None, ("a", "b"), Size(640, 320), None)
    file = save_constant(tmp_path / "a.onnx", scores=unit(logits(4)))
    assert "say it with --task: classification, detection" in refusal(file, task=None)  # type: ignore[arg-type]


def test_eighty_names_on_the_command_line(tmp_path: Path) -> None:
    names = ",".join(f"thing {number}" for number in range(80))
    save_constant(tmp_path / "a.onnx", output=table(100, 84).T.copy())
    done = roo("models", "add", tmp_path / "a.onnx", "--task", "detection", "--labels", names, "--out", tmp_path / "m")
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "m" / "a" / "labels.txt").read_text().splitlines()) == 80
