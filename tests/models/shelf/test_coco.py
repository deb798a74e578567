"""Data sets of others: what is taken, and what is refused, with file and line."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models.shelf.training.bring import local
from models.shelf.training.coco import DataRefused, annotations_in, read_coco
from models.shelf.training.corpus import Corpus
from models.shelf.training.duplicates import look, refuse_shared
from models.shelf.training.jpeg import encode
from tests.fixtures.blob_storage import blob_storage
from tests.models.shelf.scenes import drawn, written


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    """A data set as a labelling tool writes it: other names, ids that begin anywhere, pictures in `images`."""
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (2, 60, 80, 3)).astype(np.uint8)
    for name, picture in zip("ab", pixels, strict=True):
        (tmp_path / "images" / f"{name}.jpg").write_bytes(encode(picture, 95))
    size = {"width": 80, "height": 60}
    return {
        "images": [{"id": 70, "file_name": "a.jpg", **size}, {"id": 3, "file_name": "b.jpg", **size}],
        "annotations": [
            {"id": 0, "image_id": 3, "category_id": 9, "bbox": [10, 10, 30.5, 20]},
            {"id": 1, "image_id": 70, "category_id": 4, "bbox": [0, 0, 80, 60], "iscrowd": 1},
        ],
        "categories": [{"id": 9, "name": "KLT box"}, {"id": 4, "name": "pallet"}, {"id": 5, "name": "person"}],
    }


LABELS = {"KLT box": "tote", "person": "-"}


def refused(folder: Path, document: dict[str, Any]) -> str:
    path = written(folder, document)
    with pytest.raises(DataRefused) as caught:
        read_coco(path, LABELS)
    return str(caught.value).replace(str(path), "FILE")


def line_of(folder: Path, ident: int) -> int:
    """The line in which the entry of that id begins: the one before its `id`."""
    lines = (folder / "annotations.json").read_text().splitlines()
    return next(number for number, line in enumerate(lines) if f'"id": {ident}' in line)


def test_categories_become_the_models_labels_and_ids_count_from_one(tmp_path: Path, document: dict[str, Any]) -> None:
    written(tmp_path, document)
    found = read_coco(tmp_path, LABELS)
    assert [image["id"] for image in found.images] == [1, 2]
    assert [(note["id"], note["image_id"], note["category_id"]) for note in found.notes] == [(1, 2, 2), (2, 1, 3)]
    first, second = found.objects()
    assert first.tolist() == [[0, 0, 80, 60, 2, 1]]
    assert second.tolist() == [[10, 10, 40.5, 30, 1, 0]]


def test_what_is_left_out_is_not_learned(tmp_path: Path, document: dict[str, Any]) -> None:
    document["annotations"][1]["category_id"] = 5
    written(tmp_path, document)
    assert [len(objects) for objects in read_coco(tmp_path, LABELS).objects()] == [0, 1]


def test_everything_that_is_wrong_is_said_by_line(tmp_path: Path, document: dict[str, Any]) -> None:
    document["annotations"] += [
        {"id": 11, "image_id": 3, "category_id": 9, "bbox": [70, 10, 20, 20]},
        {"id": 12, "image_id": 99, "category_id": 9, "bbox": [1, 1, 2, 2]},
        {"id": 13, "image_id": 3, "category_id": 77, "bbox": [1, 1, 2, 2]},
        {"id": 14, "image_id": 3, "category_id": 9, "bbox": [1, 1, float("nan"), 2]},
        {"id": 15, "image_id": 3, "category_id": 9, "bbox": [1, 1, 0, 2]},
        {"id": 16, "image_id": 3, "category_id": 9, "bbox": "everything"},
        {"id": 17, "image_id": 3},
    ]
    document["categories"].append({"id": 6, "name": "shelf"})
    said = refused(tmp_path, document).splitlines()
    assert said[0].startswith(f"FILE:{line_of(tmp_path, 6)}: category 6: 'shelf' is none of carton, tote,")
    assert "--label 'shelf=-'" in said[0]
    assert said[1] == (
        f"FILE:{line_of(tmp_path, 11)}: annotation 11: the box [70, 10, 20, 20] (x, y, width, height) reaches "
        "out of its picture of 80 x 60 pixels"
    )
    expected = ["no picture 99", "no category 77", "no area", "no area", "has to be four numbers", "it needs"]
    assert len(said) == 2 + len(expected)
    for line, number, text in zip(said[2:], range(12, 18), expected, strict=True):
        assert line.startswith(f"FILE:{line_of(tmp_path, number)}: annotation {number}: ")
        assert text in line


def test_pictures_that_are_missing_broken_or_of_another_size(tmp_path: Path, document: dict[str, Any]) -> None:
    size = {"width": 80, "height": 60}
    (tmp_path / "text.jpg").write_text("not a picture")
    document["images"] += [
        {"id": 1, "file_name": "gone.jpg", **size},
        {"id": 2, "file_name": "text.jpg", **size},
        {"id": 70, "file_name": "a.jpg", **size},
        {"id": 4, "file_name": "../a.jpg", **size},
        {"id": 5, "file_name": "b.jpg", "width": 60, "height": 80},
    ]
    said = refused(tmp_path, document).splitlines()
    expected = [
        "gone.jpg is neither in",
        "no picture format",
        "has this id",
        "leads out of",
        "is 80 x 60 pixels, upright",
    ]
    for line, text in zip(said, [*expected, "b.jpg is there twice"], strict=True):
        assert text in line
        assert line.startswith("FILE")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"images": [],\n "annotations": [}', "FILE:2: not JSON"),
        ("[]", "FILE: not COCO"),
        ('{"images": [], "annotations": [], "categories": []}', "no pictures"),
    ],
)
def test_files_that_are_no_data_set(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(text)
    with pytest.raises(DataRefused) as caught:
        read_coco(path)
    assert said in str(caught.value).replace(str(path), "FILE")


def test_a_set_without_a_single_object_is_refused(tmp_path: Path, document: dict[str, Any]) -> None:
    document["annotations"] = []
    assert "not one annotation" in refused(tmp_path, document)


def test_a_folder_has_one_file_of_annotations(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match=r"none of them is there\. Name the file"):
        annotations_in(tmp_path)
    (tmp_path / "_annotations.coco.json").touch()
    assert annotations_in(tmp_path).name == "_annotations.coco.json"
    (tmp_path / "coco.json").touch()
    with pytest.raises(DataRefused, match="2 of them are there"):
        annotations_in(tmp_path)


def test_a_picture_that_is_cut_off_is_named(tmp_path: Path, document: dict[str, Any]) -> None:
    whole = (tmp_path / "images" / "b.jpg").read_bytes()
    (tmp_path / "images" / "b.jpg").write_bytes(whole[: len(whole) // 2])
    corpus = Corpus(written(tmp_path, document), LABELS)
    with pytest.raises(DataRefused, match=r"b\.jpg cannot be decoded"):
        corpus.unpack(tmp_path / "pictures.u8")


def test_held_out_pictures_that_were_trained_on_are_refused(tmp_path: Path) -> None:
    training = drawn(tmp_path / "train", range(4))
    other = drawn(tmp_path / "other", range(4), "val")
    picture = cv2.imread(str(tmp_path / "train" / "train-2.jpg"))
    darker = cv2.resize(cv2.convertScaleAbs(picture, alpha=0.9, beta=6), (256, 144))
    held_out = [tmp_path / "other" / f"val-{seed}.jpg" for seed in range(4)]
    seen = look([training], [tmp_path / "train" / f"train-{seed}.jpg" for seed in range(4)])
    refuse_shared(seen, look([other], held_out))
    cv2.imwrite(str(held_out[3]), darker, [cv2.IMWRITE_JPEG_QUALITY, 60])
    with pytest.raises(DataRefused, match=r"1 held-out pictures.*\n.*val-3\.jpg is .*train-2\.jpg \(\d+ of 256 bits"):
        refuse_shared(seen, look([other], held_out))


def test_the_digest_is_that_of_pictures_and_annotations(tmp_path: Path) -> None:
    path = drawn(tmp_path, range(2))
    files = [tmp_path / "train-0.jpg", tmp_path / "train-1.jpg"]
    before = look([path], files).digest
    assert look([path], files).digest == before
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert look([path], files).digest != before


def test_a_share_of_what_is_drawn_is_of_the_other_set(tmp_path: Path) -> None:
    corpus, other = Corpus(drawn(tmp_path / "a", range(6))), Corpus(drawn(tmp_path / "b", range(6, 8)))
    corpus.extend(other, 0.5)
    weights = corpus.weights()
    assert len(corpus) == len(weights) == 8
    assert weights[6:].sum() == pytest.approx(0.5)
    assert weights.sum() == pytest.approx(1.0)


def test_pictures_come_from_a_container_and_only_once(tmp_path: Path, document: dict[str, Any]) -> None:
    written(tmp_path, document)
    with blob_storage() as storage:
        for path in (tmp_path / "annotations.json", *(tmp_path / "images").iterdir()):
            storage.put(f"real/{path.relative_to(tmp_path).as_posix()}", path.read_bytes())
        place = local(storage.below("real"), tmp_path / "copy")
        assert [note["category_id"] for note in read_coco(place, LABELS).notes] == [2, 3]
        asked = len(storage.ranges("real/images/a.jpg"))
        storage.put("real/images/b.jpg", (tmp_path / "images" / "a.jpg").read_bytes())
        assert local(storage.below("real"), tmp_path / "copy") == place
        assert len(storage.ranges("real/images/a.jpg")) == asked
        assert (place / "images" / "b.jpg").read_bytes() == (tmp_path / "images" / "a.jpg").read_bytes()
        with pytest.raises(DataRefused, match="nothing below it"):
            local(storage.below("elsewhere"), tmp_path / "copy")
