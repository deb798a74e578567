"""`like`: what a family's name stands for."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from app.cli import cli
from app.repository import presets
from app.repository.manifest import Manifest
from tests.fixtures.models import add_box_model


def manifest(like: str, task: str = "detection", **sections: Any) -> Manifest:
    labels = [] if task == "embedding" else ["a", "b"]
    content = {"task": task, "like": like, "labels": labels, "input": {"size": [640, 640]}, **sections}
    return Manifest.model_validate(content)


@pytest.mark.parametrize(("like", "task"), [(like, task) for like in presets.NAMES for task in presets.tasks(like)])
def test_each_is_a_manifest_for_the_tasks_that_it_knows(like: str, task: str) -> None:
    sections = {"detection": {"decoder": "yolo"}} if (like, task) == ("imagenet", "detection") else {}
    found = manifest(like, task, **sections)
    assert (found.like, found.input.reduce) == (like, "none")


def test_a_task_of_which_it_says_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="like: yolox says nothing of task segmentation, only of detection"):
        manifest("yolox", "segmentation")


def test_every_field_can_be_overridden() -> None:
    plain = manifest("yolox")
    assert plain.detection is not None
    assert (plain.input.channels, plain.input.scale, plain.input.align) == ("bgr", 1.0, "top_left")
    assert (plain.detection.decoder, plain.detection.class_agnostic) == ("yolox", True)
    other = manifest("yolox", input={"size": [416, 416], "channels": "rgb"}, detection={"score_threshold": 0.1})
    assert other.detection is not None
    assert (other.input.channels, other.input.scale) == ("rgb", 1.0)
    assert (other.detection.score_threshold, other.detection.decoder) == (0.1, "yolox")


def test_another_decoder_takes_over_thresholds_and_counts_only() -> None:
    found = manifest("detr", detection={"decoder": "yolo", "transposed": True}).detection
    assert found is not None
    assert (found.decoder, found.outputs, found.apply_softmax, found.score_threshold) == ("yolo", None, False, 0.5)


def test_fractions_are_not_kept_where_a_picture_may_be_reduced() -> None:
    assert not manifest("rf-detr").input.round_pixels
    assert manifest("rf-detr", input={"size": [560, 560], "reduce": "auto"}).input.round_pixels


def test_the_order_of_passes_belongs_to_pillows_filter() -> None:
    assert manifest("detr").input.first_pass == "horizontal"
    assert manifest("detr", input={"size": [320, 320], "antialias": False}).input.first_pass == "auto"


def test_the_side_before_a_crop_follows_the_inputs_size() -> None:
    assert manifest("torchvision", "classification", input={"size": [224, 224]}).input.resize_to == 256
    assert manifest("torchvision", "classification", input={"size": [448, 448]}).input.resize_to == 512
    given = {"size": [224, 224], "resize_to": 232}
    assert manifest("torchvision", "classification", input=given).input.resize_to == 232
    stretched = {"size": [224, 224], "resize": "stretch"}
    assert manifest("torchvision", "classification", input=stretched).input.resize_to is None


def test_an_unknown_family_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValidationError, match=r"like: is one of ultralytics, .*, yolox, .*, not 'yolo'"):
        manifest("yolo")


def test_models_show_prints_what_it_stands_for(tmp_path: Path) -> None:
    folder = add_box_model(tmp_path, like="d-fine", input={"size": [16, 16]})
    assert "like: d-fine" in (folder / "model.yaml").read_text()
    result = CliRunner().invoke(cli, ["models", "show", "box", "--models-dir", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert '"antialias": true' in result.output
    assert '"reduce": "none"' in result.output
