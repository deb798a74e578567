"""Keypoints and turned boxes on the page's canvas."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.api.test_keypoints import PLACES, pictured
from tests.api.test_oriented_boxes import PARTS
from tests.api.test_oriented_boxes import picture as picture_of_parts
from tests.console.test_try_it import answer, answered, drop, opened
from tests.fixtures.place_models import JOINTS, add_arm_model, add_turned_model
from tests.fixtures.server import Server, serving

BLUE = (0x1D, 0x4E, 0xD8)
"""The first class's colour."""

parts = picture_of_parts


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    add_arm_model(root)
    add_turned_model(root, size=160)
    with serving(root, default_model="arm") as running:
        yield running


def is_drawn(page: Page, x: float, y: float) -> bool:
    """Whether the first class's colour is within a pixel or two of a place of the picture."""
    place = json.loads(page.locator("canvas").get_attribute("data-place") or "")
    left, top = (place[edge] + way * place["scale"] for edge, way in (("left", x), ("top", y)))
    values = page.evaluate(
        """([x, y]) => {
            const ratio = devicePixelRatio;
            const context = document.querySelector("canvas").getContext("2d");
            return [...context.getImageData(x * ratio - 3, y * ratio - 3, 7, 7).data];
        }""",
        [left, top],
    )
    pixels = np.array(values).reshape(-1, 4)[:, :3]
    return bool(np.abs(pixels - BLUE).max(axis=1).min() < 30)


def test_points_that_are_seen_are_drawn_with_the_lines_between_them(page: Page, server: Server) -> None:
    drop(opened(page, server), "a.png", pictured("base", "wrist", "tip"))
    answered(page)
    assert [point["name"] for point in answer(page)["detections"][0]["keypoints"]] == list(JOINTS)
    for name in ("base", "wrist", "tip"):
        assert is_drawn(page, *PLACES[name])
    between = {name: np.add(PLACES["wrist"], PLACES[name]) / 2 for name in ("tip", "base")}
    assert is_drawn(page, *between["tip"])
    assert not is_drawn(page, *between["base"])


def test_a_turned_box_is_drawn_and_pointed_at_as_it_lies(page: Page, server: Server, parts: bytes) -> None:
    opened(page, server).locator("select").select_option("turned")
    drop(page, "a.png", parts)
    answered(page)
    red = next(found for found in answer(page)["detections"] if found["label"] == "red")
    corners = np.array(red["polygon"]).reshape(4, 2)
    for x, y in (corners + np.roll(corners, -1, axis=0)) / 2:
        assert is_drawn(page, x, y)
    _, y0, x1, y1 = red["box"]
    assert not is_drawn(page, x1 - 1, (y0 + y1) / 2 - 20)  # on the upright box's side
    place = json.loads(page.locator("canvas").get_attribute("data-place") or "")
    tip = page.locator(".tip")
    for (x, y), words in ((PARTS["red"][0], "red · 0.90"), ((x1 - 2, y0 + 2), "")):
        position = {"x": place["left"] + x * place["scale"], "y": place["top"] + y * place["scale"]}
        page.locator("canvas").hover(position=position)  # type: ignore[arg-type]
        if words:
            expect(tip).to_have_text(words)
        else:
            expect(tip).to_be_hidden()
