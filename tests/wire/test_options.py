"""Options as every front reads them."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.vision.tasks import Options
from app.vision.tiling import Tiles
from app.wire.options import RequestOptions


@pytest.mark.parametrize(
    ("said", "classes"),
    [
        ("person,car", ("person", "car")),
        (" person , 2,", ("person", "2")),
        (["person", 2], ("person", "2")),
        (["tench, Tinca tinca"], ("tench, Tinca tinca",)),
        (3, ("3",)),
    ],
)
def test_classes_as_text_as_a_list_and_as_a_number(said: Any, classes: tuple[str, ...]) -> None:
    assert RequestOptions(classes=said).vision_options().classes == classes


@pytest.mark.parametrize("said", ["", " , ", [], [True], [1.5], [None], True, {"a": 1}, ["x" * 300], ["a"] * 1001])
def test_what_names_no_classes_is_refused(said: Any) -> None:
    with pytest.raises(ValidationError, match="classes"):
        RequestOptions.model_validate({"classes": said})


@pytest.mark.parametrize("said", ["", " , ", []])
def test_no_class_at_all_is_said_in_words(said: Any) -> None:
    with pytest.raises(ValidationError, match="name at least one class, or leave the option out"):
        RequestOptions.model_validate({"classes": said})


def test_every_option_of_the_tasks_can_be_asked_for() -> None:
    wanted = {"score_threshold": 0.1, "iou_threshold": 0.2, "max_detections": 3, "top_k": 4, "read_barcodes": True}
    more = {"classes": ("a",), "class_agnostic": True, "coordinates": "normalized", "masks": "png"}
    more |= {"region": (1, 2, 3, 4), "tiles": "none"}
    assert RequestOptions(**wanted, **more).vision_options() == Options(**wanted, **more)


@pytest.mark.parametrize(
    ("said", "tiles"),
    [
        ("640", Tiles(size=640)),
        (640, Tiles(size=640)),
        (" 640 , 0.1", Tiles(size=640, overlap=0.1)),
        ("640,0.1,false", Tiles(size=640, overlap=0.1, whole_too=False)),
        ({"size": 640, "whole_too": False}, Tiles(size=640, whole_too=False)),
        (Tiles(size=99), Tiles(size=99)),
        ("none", "none"),
    ],
)
def test_tiles_in_every_form(said: Any, tiles: Any) -> None:
    options = RequestOptions(tiles=said)
    assert options.vision_options().tiles == tiles
    assert RequestOptions(**options.model_dump(exclude_none=True)) == options, "what is dumped is read again"


@pytest.mark.parametrize(
    "said", ["", "x", "0", "640,1", "640,0.1,maybe", "1,2,3,4", True, [640], {"size": 640, "a": 1}]
)
def test_what_are_no_tiles_is_refused(said: Any) -> None:
    with pytest.raises(ValidationError, match="tiles"):
        RequestOptions.model_validate({"tiles": said})
