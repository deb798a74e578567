"""The scenes' ground truth is right, reproducible, and split into pools that do not touch."""

import cv2
import numpy as np
import pytest

pytest.importorskip("zxingcpp")

from models.shelf.training.arrays import CLASSES, EMPTY, LABEL
from models.shelf.training.detect import read_label
from models.shelf.training.labels import LINEAR, MATRIX, barcode, make_label, random_text
from models.shelf.training.pools import SPLITS, Pools, colour_cell, split_of
from models.shelf.training.scenes import Scene, Truth, render

SIZE = (640, 360)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render("test", seed, SIZE) for seed in range(12)]


def _map(scene: Scene, truth: Truth) -> np.ndarray:
    chosen = {LABEL: scene.label, EMPTY: scene.opening}.get(truth.kind, scene.owner)
    return chosen == truth.ident


def test_a_box_is_exactly_around_the_pixels_its_object_owns(scenes: list[Scene]) -> None:
    for scene in scenes:
        for truth in scene.truths:
            rows, columns = np.nonzero(_map(scene, truth))
            assert truth.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert 0 < truth.visible <= 1


def test_every_owned_pixel_has_a_truth(scenes: list[Scene]) -> None:
    for scene in scenes:
        for ids, kinds in ((scene.owner, {0, 1, 2}), (scene.label, {LABEL}), (scene.opening, {EMPTY})):
            known = {truth.ident for truth in scene.truths if truth.kind in kinds}
            assert set(np.unique(ids)) - {0} == known


def test_a_label_lies_on_what_it_is_stuck_to(scenes: list[Scene]) -> None:
    labels = [(scene, truth) for scene in scenes for truth in scene.truths if truth.kind == LABEL]
    assert len(labels) > 20
    for scene, truth in labels:
        below = scene.owner[_map(scene, truth)]
        assert np.bincount(below).max() >= 0.75 * below.size, "a label may touch the edge of a neighbour, no more"


def test_hardly_anything_is_seen_through_an_empty_location(scenes: list[Scene]) -> None:
    shares = [
        float((scene.owner[_map(scene, truth)] == 0).mean())
        for scene in scenes
        for truth in scene.truths
        if truth.kind == EMPTY and not truth.ignore
    ]
    assert len(shares) > 5
    assert np.mean(shares) > 0.85, "goods of a neighbour may be seen through it from the side"


def test_all_classes_occur(scenes: list[Scene]) -> None:
    assert {truth.kind for scene in scenes for truth in scene.truths if not truth.ignore} == set(range(len(CLASSES)))


def test_the_same_seed_gives_the_same_scene() -> None:
    first, second = render("val", 3, SIZE), render("val", 3, SIZE)
    assert np.array_equal(first.image, second.image)
    assert first.truths == second.truths


def test_another_seed_or_split_gives_another_scene() -> None:
    images = [render(split, seed, (320, 180)).image for split in SPLITS for seed in (0, 1)]
    assert len({image.tobytes() for image in images}) == len(images)


def test_a_larger_picture_shows_the_same_objects() -> None:
    small, large = render("test", 20, (640, 360)), render("test", 20, (1280, 720))
    texts = [{truth.text for truth in scene.truths if not truth.ignore and truth.text} for scene in (small, large)]
    assert texts[0] == texts[1]


def test_colours_textures_and_geometries_of_the_splits_are_disjoint() -> None:
    drawn: dict[str, set[tuple[object, ...]]] = {}
    for split in SPLITS:
        pools, rng = Pools(split), np.random.default_rng(5)
        cells: set[tuple[object, ...]] = set()
        for _ in range(200):
            cells.add(colour_cell(pools.colour(rng)))
            cells.add(("texture", pools.texture(rng)))
            lengths = pools.geometry(rng, (0.9, 0.3, 0.4), (3.6, 1.9, 1.2))
            cells.add(("geometry", *(round(length / 0.05) for length in lengths)))
        assert all(split_of(*cell) == split for cell in cells)
        drawn[split] = cells
    assert not drawn["train"] & drawn["val"]
    assert not drawn["train"] & drawn["test"]
    assert not drawn["val"] & drawn["test"]


@pytest.mark.parametrize("symbology", [*LINEAR, *MATRIX])
def test_a_drawn_barcode_reads_back(symbology: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        text = random_text(rng, symbology, location=False)
        symbol = np.repeat(np.repeat(barcode(text, symbology), 4, 0), 4, 1)
        picture = np.repeat(np.pad(symbol, 24, constant_values=255)[..., None], 3, 2)
        whole = np.array([0, 0, picture.shape[1], picture.shape[0]], np.float32)
        assert text in [found for found, _ in read_label(picture, whole)]


def test_printed_labels_read_back() -> None:
    rng, pools = np.random.default_rng(2), Pools("test")
    labels = [make_label(rng, pools, location=bool(number % 2)) for number in range(60)]
    read = 0
    for label in labels:
        whole = np.array([0, 0, label.artwork.shape[1], label.artwork.shape[0]], np.float32)
        read += label.text in [
            text for text, _ in read_label(np.pad(label.artwork, ((20, 20), (20, 20), (0, 0))), whole)
        ]
    assert read >= 57


def test_near_labels_in_a_rendered_scene_can_be_read() -> None:
    scene = render("test", 5040, (1280, 720))
    near = [truth for truth in scene.truths if truth.kind == LABEL and truth.box[2] - truth.box[0] > 60]
    read = [truth for truth in near if truth.text in [t for t, _ in read_label(scene.image, np.array(truth.box))]]
    assert len(read) >= 3


@pytest.mark.parametrize(
    ("symbology", "angle"),
    [(name, angle) for name in ("QRCode", "DataMatrix", "Code128") for angle in (0, 8, 90, 180, 270)]
    + [("QRCode", 45), ("DataMatrix", 45)],  # zxing-cpp looks for bars along rows and columns only
)
def test_a_turned_label_can_be_read(symbology: str, angle: int) -> None:
    assert "ROO12345" in _read(_turned(_symbol("ROO12345", symbology, 4), angle))


@pytest.mark.parametrize("module", [1.6, 2.0, 3.0])
def test_a_small_label_can_be_read_down_to_two_pixels_a_module(module: float) -> None:
    symbol = _symbol("ROO12345", "QRCode", 8)
    small = cv2.resize(symbol, None, fx=module / 8, fy=module / 8, interpolation=cv2.INTER_AREA)
    assert "ROO12345" in _read(np.asarray(small, np.uint8))


def test_a_damaged_label_can_be_read_as_far_as_its_error_correction_reaches() -> None:
    symbol = _symbol("ROO12345", "QRCode", 6)
    middle = symbol.shape[0] // 2
    symbol[middle - 8 : middle + 8, middle : middle + 18] = 128
    assert "ROO12345" in _read(symbol)
    symbol[24:-24, 24 : symbol.shape[1] // 2] = 128
    assert _read(symbol) == []


def _symbol(text: str, symbology: str, module: int) -> np.ndarray:
    """A symbol in a white frame, grey uint8, `module` pixels a module."""
    drawn = np.repeat(np.repeat(barcode(text, symbology), module, 0), module, 1)
    return np.pad(drawn, 8 * module, constant_values=255)


def _turned(symbol: np.ndarray, angle: int) -> np.ndarray:
    height, width = symbol.shape
    side = int(np.hypot(height, width))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    return np.asarray(cv2.warpAffine(symbol, matrix, (side, side), borderValue=255), np.uint8)


def _read(symbol: np.ndarray) -> list[str]:
    picture = np.repeat(symbol[..., None], 3, 2)
    whole = np.array([0, 0, picture.shape[1], picture.shape[0]], np.float32)
    return [text for text, _ in read_label(picture, whole)]
