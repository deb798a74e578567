"""The scenes' ground truth is right, reproducible, and split into pools that do not touch."""

import cv2
import numpy as np
import pytest

pytest.importorskip("zxingcpp")

from models.shelf.training.arrays import CARTON, CLASSES, EMPTY, LABEL
from models.shelf.training.camera import look
from models.shelf.training.labels import LINEAR, MATRIX, barcode, make_label, random_text
from models.shelf.training.legible import read_box
from models.shelf.training.pools import SPLITS, Pools, colour_cell, split_of
from models.shelf.training.rack import Builder, plan_rack
from models.shelf.training.raster import Canvas
from models.shelf.training.scenes import Scene, Truth, _cut_off, _things, render
from models.shelf.training.world import SIDES, Block, World, side

SIZE = (640, 360)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render("test", seed, SIZE) for seed in range(12)]


def _map(scene: Scene, truth: Truth) -> np.ndarray:
    chosen = {LABEL: scene.label, EMPTY: scene.opening}.get(truth.kind, scene.owner)
    return chosen == truth.ident


def test_a_box_is_exactly_around_the_pixels_its_object_owns(scenes: list[Scene]) -> None:
    for scene in scenes:
        for truth in filter(lambda truth: truth.ident, scene.truths):
            rows, columns = np.nonzero(_map(scene, truth))
            assert truth.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert 0 <= truth.visible <= 1
            assert truth.ignore == (truth.small or truth.hidden)


def test_every_owned_pixel_has_a_truth(scenes: list[Scene]) -> None:
    for scene in scenes:
        for ids, kinds in ((scene.owner, {0, 1, 2}), (scene.label, {LABEL}), (scene.opening, {EMPTY})):
            known = {truth.ident for truth in scene.truths if truth.kind in kinds} - {0}
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


def test_every_location_is_either_marked_empty_or_holds_something() -> None:
    """Also where what was drawn for it turned out to be too large: then it is empty like any other."""
    camera = look((0.0, 1.5, -2.5), 0.0, 0.0, 0.0, 70.0, SIZE)
    for seed in range(40):
        pools, rng = Pools("train"), np.random.default_rng(seed)
        world = World(camera, dict.fromkeys(SIDES, 1.0))
        Builder(world, pools, rng, plan_rack(pools, rng)).build()
        goods = [thing.front for thing in world.things if thing.kind != LABEL]
        for opening in world.openings:
            low, high = opening.min(0) + 0.03, opening.max(0) - 0.03
            assert not any(low[0] < g[:, 0].mean() < high[0] and low[1] < g[:, 1].mean() < high[1] for g in goods)
        assert len(world.openings) + len(world.stocked) > 10


def test_an_object_is_hidden_by_what_stands_before_its_front() -> None:
    camera = look((0.0, 0.5, -2.0), 0.0, 0.0, 0.0, 60.0, SIZE)
    for covered, hidden in ((0.3, False), (0.7, True)):
        world, canvas = World(camera, dict.fromkeys(SIDES, 1.0)), Canvas(camera, np.zeros((*SIZE[::-1], 3), np.uint8))
        corners = Block((0.0, 0.2, 0.5), (0.6, 0.6, 0.4)).corners(np.random.default_rng(0))
        owner = world.thing(CARTON, side(corners, "front"))
        world.block(corners, dict.fromkeys(SIDES, _white), owner)
        post = Block((-0.3 * (1 - covered), 0.0, 0.28), (0.6 * covered, 1.0, 0.02)).corners(np.random.default_rng(0))
        world.block(post, dict.fromkeys(SIDES, _white))
        for face in world.solids:
            canvas.solid(face)
        truth = _things(camera, world.things, canvas.owner, canvas.label, canvas.front)[0]
        assert truth.visible == pytest.approx(1 - covered, abs=0.05)
        assert truth.hidden is hidden


def _white(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)


def test_a_stocked_location_that_is_mostly_outside_the_picture_is_not_judged() -> None:
    camera = look((0.0, 0.5, -2.0), 0.0, 0.0, 0.0, 60.0, SIZE)  # sees about 1.15 metres to each side
    for right, cut in ((1.2, 0), (4.0, 1)):
        quad = np.array([[0.0, 0.8, 0.0], [right, 0.8, 0.0], [right, 0.2, 0.0], [0.0, 0.2, 0.0]])
        truths = _cut_off(camera, [quad])
        assert len(truths) == cut
        assert all(truth.kind == EMPTY and truth.ignore and truth.ident == 0 for truth in truths)


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
    assert len(texts[0] & texts[1]) >= 4
    assert len(texts[0] ^ texts[1]) <= 2, "one or the other is just too small or just too hidden"


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
        assert read_box(picture, whole) == text


def test_printed_labels_read_back() -> None:
    rng, pools = np.random.default_rng(2), Pools("test")
    labels = [make_label(rng, pools, location=bool(number % 2)) for number in range(60)]
    read = 0
    for label in labels:
        whole = np.array([0, 0, label.artwork.shape[1], label.artwork.shape[0]], np.float32)
        read += label.text == read_box(np.pad(label.artwork, ((20, 20), (20, 20), (0, 0))), whole)
    assert read >= 57


def test_near_labels_in_a_rendered_scene_can_be_read() -> None:
    scene = render("test", 5027, (1280, 720))
    near = [truth for truth in scene.truths if truth.kind == LABEL and truth.box[2] - truth.box[0] > 60]
    read = [truth for truth in near if truth.text == read_box(scene.image, np.array(truth.box))]
    assert len(read) >= 3


@pytest.mark.parametrize(
    ("symbology", "angle"),
    [(name, angle) for name in ("QRCode", "DataMatrix", "Code128") for angle in (0, 8, 90, 180, 270)]
    + [("QRCode", 45), ("DataMatrix", 45)],  # zxing-cpp looks for bars along rows and columns only
)
def test_a_turned_label_can_be_read(symbology: str, angle: int) -> None:
    assert _read(_turned(_symbol("ROO12345", symbology, 4), angle)) == "ROO12345"


@pytest.mark.parametrize("module", [1.6, 2.0, 3.0])
def test_a_small_label_can_be_read_down_to_two_pixels_a_module(module: float) -> None:
    symbol = _symbol("ROO12345", "QRCode", 8)
    small = cv2.resize(symbol, None, fx=module / 8, fy=module / 8, interpolation=cv2.INTER_AREA)
    assert _read(np.asarray(small, np.uint8)) == "ROO12345"


def test_a_damaged_label_can_be_read_as_far_as_its_error_correction_reaches() -> None:
    symbol = _symbol("ROO12345", "QRCode", 6)
    middle = symbol.shape[0] // 2
    symbol[middle - 8 : middle + 8, middle : middle + 18] = 128
    assert _read(symbol) == "ROO12345"
    symbol[24:-24, 24 : symbol.shape[1] // 2] = 128
    assert _read(symbol) is None


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


def _read(symbol: np.ndarray) -> str | None:
    picture = np.repeat(symbol[..., None], 3, 2)
    whole = np.array([0, 0, picture.shape[1], picture.shape[0]], np.float32)
    return read_box(picture, whole)
