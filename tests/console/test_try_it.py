"""What a user of the page does, in a real browser, against a real service."""

import base64
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from tests.fixtures.models import (
    add_box_model,
    add_colour_model,
    add_embedding_model,
    add_maps_model,
    add_parts_model,
    box_manifest,
    save_one_box,
    write_manifest,
)
from tests.fixtures.pictures import png_header_claiming, solid
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import PATIENCE

SHELF = Path("models")
EXAMPLE = SHELF / "shelf" / "examples" / "shelf-1.jpg"
KEY = "a-key-that-nobody-guesses-0123456789"
MARKUP = "<img src=x onerror=\"document.title='hacked'\"><b>bold</b>"


@pytest.fixture(scope="module")
def shelf() -> Iterator[Server]:
    """The bundled model."""
    with serving(SHELF) as running:
        yield running


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Small models of each task, one with labels of markup, for holders of a key."""
    root = tmp_path_factory.mktemp("small")
    add_colour_model(root, versions=("1", "2"), versions_served=["1", "2"])
    add_parts_model(root)
    add_embedding_model(root)
    add_maps_model(root, "heat", maps={"unit": "score"})
    add_box_model(root)
    save_one_box(root / "hostile" / "1" / "model.onnx")
    write_manifest(root / "hostile", box_manifest(labels=[MARKUP, "</script>", "'\"&"]))
    (root / "broken" / "1").mkdir(parents=True)
    (root / "broken" / "model.yaml").write_text("task: detection\n")
    keys = root.parent / "keys"
    keys.write_text(f"tester:{KEY}\n")
    settings = {"default_model": "box", "auth": "keys", "api_keys_file": keys, "max_image_bytes": 2**20}
    with serving(root, **settings, max_body_bytes=2**21, max_pixels=10**6) as running:
        yield running


def drawn(page: Page, pane: int = 0) -> list[dict[str, Any]]:
    """What the canvas says that it shows."""
    shown: list[dict[str, Any]] = json.loads(
        page.locator("#try-view .pane canvas").nth(pane).get_attribute("data-drawn") or "[]"
    )
    return shown


def answer(page: Page, pane: int = 0) -> dict[str, Any]:
    """The JSON beside it."""
    shown: dict[str, Any] = json.loads(page.locator("#try-view .json").nth(pane).text_content() or "")
    return shown


def answered(page: Page, pane: int = 0) -> None:
    expect(page.locator("#try-view .summary").nth(pane)).to_contain_text("version")


def drop(page: Page, name: str, content: bytes) -> None:
    """Drop a file on the page."""
    encoded = base64.b64encode(content).decode()
    transfer = page.evaluate_handle(
        """([name, encoded]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0))], name));
            return transfer;
        }""",
        [name, encoded],
    )
    page.dispatch_event("main", "drop", {"dataTransfer": transfer})


def choose(page: Page, name: str, content: bytes) -> None:
    """Choose a file by the button."""
    page.locator("#file").set_input_files({"name": name, "mimeType": "image/jpeg", "buffer": content})


def give_key(page: Page, key: str) -> None:
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Use this key").click()


def opened(page: Page, server: Server) -> Page:
    page.goto(f"{server.url}/")
    assert page.url == f"{server.url}/console/"
    return page


def with_key(page: Page, server: Server) -> Page:
    opened(page, server)
    give_key(page, KEY)
    expect(page.locator("#try-view .pane select")).to_contain_text("box")
    return page


def at(page: Page, box: list[float], pane: int = 0) -> tuple[Locator, float, float]:
    """The canvas, and where on it the middle of a box is."""
    canvas = page.locator("#try-view .pane canvas").nth(pane)
    place = json.loads(canvas.get_attribute("data-place") or "")
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return canvas, place["left"] + x * place["scale"], place["top"] + y * place["scale"]


def test_a_dropped_picture_is_drawn_as_the_json_says_and_filtered_without_asking(page: Page, shelf: Server) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "predict" in request.url else None)
    drop(opened(page, shelf), "shelf.jpg", EXAMPLE.read_bytes())
    answered(page)
    whole = httpx.post(f"{shelf.url}/v1/predict?score_threshold=0.5", content=EXAMPLE.read_bytes(), timeout=PATIENCE)
    truth, shown = whole.json(), answer(page)
    assert shown["detections"] == truth["detections"]
    assert shown["inventory"] == truth["inventory"]
    assert drawn(page) == [{name: one[name] for name in ("label", "score", "box")} for one in truth["detections"]]

    page.locator("#threshold").fill("0.9")
    few = [one for one in truth["detections"] if one["score"] >= 0.9]
    assert 0 < len(few) < len(truth["detections"])
    assert answer(page)["detections"] == few
    assert len(drawn(page)) == len(few)
    page.get_by_role("link", name="Models").click()
    with page.expect_response("**/console/examples"):
        page.get_by_role("link", name="Try it").click()
    frame(page)
    assert len(drawn(page)) == len(few)
    assert len(asked) == 1


def test_boxes_lie_where_they_should_and_say_what_they_are(page: Page, shelf: Server) -> None:
    opened(page, shelf).get_by_role("button", name="shelf-1.jpg").click()
    answered(page)
    canvas, found = page.locator("#try-view .pane canvas"), answer(page)["detections"]
    frame(page)
    fitted = canvas.get_attribute("data-place") or ""
    hover_and_check(page, found, next(one for one in found if one["codes"]))

    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Zoom in").click()
    frame(page)
    hover_and_check(page, found, largest_in_the_middle(answer(page)))

    canvas.focus()
    for key in ("ArrowRight", "+", "0"):
        before = canvas.get_attribute("data-place") or ""
        page.keyboard.press(key)
        expect(canvas).not_to_have_attribute("data-place", before)
    expect(canvas).to_have_attribute("data-place", fitted)


def hover_and_check(page: Page, found: list[dict[str, Any]], target: dict[str, Any]) -> None:
    """Under the pointer it says what it is, and its edge has the colour that its row in the list has."""
    canvas, x, y = at(page, target["box"])
    canvas.hover(position={"x": x, "y": y})
    expect(page.locator("#try-view .tip")).to_have_text(
        " · ".join([target["label"], f"{target['score']:.2f}", *(code["text"] for code in target["codes"])])
    )
    frame(page)
    edge, middle = at(page, [target["box"][0], target["box"][1], target["box"][0], target["box"][3]])[1:]
    pixel = canvas.evaluate(
        "(canvas, [x, y]) => [...canvas.getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3)", [edge, middle]
    )
    row = page.locator("#try-view .found button").nth(found.index(target))
    assert row.evaluate("row => row.style.borderLeftColor") == f"rgb({', '.join(map(str, pixel))})"


def frame(page: Page) -> None:
    """Wait until the canvas was drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def largest_in_the_middle(prediction: dict[str, Any]) -> dict[str, Any]:
    """The detection whose middle is nearest to the picture's."""
    width, height = prediction["image"]["width"], prediction["image"]["height"]

    def distance(one: dict[str, Any]) -> float:
        x1, y1, x2, y2 = one["box"]
        return float(abs(x1 + x2 - width) + abs(y1 + y2 - height))

    return min(prediction["detections"], key=distance)


def test_the_calls_that_are_shown_give_the_same(page: Page, shelf: Server, tmp_path: Path) -> None:
    name = 'a\'b "c".jpg'
    (tmp_path / name).write_bytes(EXAMPLE.read_bytes())
    drop(opened(page, shelf), name, EXAMPLE.read_bytes())
    answered(page)
    python, curl = (page.locator(place).text_content() or "" for place in (".python", ".curl"))
    commands = [(sys.executable, "-c", python.replace("print(answer", "import json; print(json.dumps(answer") + ")")]
    commands.append(("sh", "-c", curl))
    for command in commands:
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=PATIENCE)
        assert json.loads(said.stdout)["detections"] == answer(page)["detections"]


def test_a_wrong_key_is_told_and_a_right_one_kept_in_the_tab_alone(page: Page, small: Server) -> None:
    opened(page, small)
    expect(page.locator("#trouble")).to_have_text("The service asks for a key.")
    give_key(page, "wrong-key")
    expect(page.locator("#key-trouble")).to_contain_text("does not know this one")
    give_key(page, "two words")
    expect(page.locator("#key-trouble")).to_contain_text("without spaces")
    give_key(page, KEY)
    expect(page.locator("#try-view .pane select")).to_contain_text("box")
    expect(page.locator("#trouble")).to_be_hidden()
    page.reload()
    expect(page.locator("#try-view .pane select")).to_contain_text("box")
    choose(page, "a.jpg", solid((200, 0, 0)))
    answered(page)
    assert KEY not in page.content()
    assert page.evaluate("() => [localStorage.length, document.cookie]") == [0, ""]
    page.get_by_role("button", name="Forget the key").click()
    expect(page.locator("#key-dialog")).to_be_visible()
    assert page.evaluate("() => sessionStorage.length") == 0


def test_what_is_served_and_why_and_what_is_not(page: Page, small: Server) -> None:
    with_key(page, small).get_by_role("link", name="Models").click()
    expect(page.locator("#try-view")).to_be_hidden()
    headings = page.locator("#models-list h3")
    expect(headings).to_have_text(
        [
            "box · detection · answers where none is named",
            "colour · classification",
            "heat · maps",
            "hostile · detection",
            "parts · segmentation",
            "vector · embedding",
            "Not served, or not as in the repository",
        ]
    )
    colour = page.locator("#models-list article").nth(1)
    expect(colour.locator("tbody tr")).to_have_count(2)
    expect(colour.locator("tbody tr").nth(1)).to_contain_text("onnx")
    expect(page.locator("#models-list article").nth(3)).to_contain_text(MARKUP)
    expect(page.locator("#models-list li")).to_contain_text("broken")
    page.go_back()
    expect(page.locator("#try-view")).to_be_visible()


def test_names_that_are_markup_stay_text(page: Page, small: Server) -> None:
    with_key(page, small).locator("#try-view .pane select").select_option(label="hostile")
    drop(page, f"{MARKUP}.jpg".replace("/", ""), solid((255, 0, 0)))
    answered(page)
    assert drawn(page)[0]["label"] == MARKUP
    expect(page.locator("#try-view .found button").first).to_contain_text(MARKUP)
    canvas, x, y = at(page, drawn(page)[0]["box"])
    canvas.hover(position={"x": x, "y": y})
    expect(page.locator("#try-view .tip")).to_contain_text(MARKUP)
    assert page.locator("img, main b").count() == 0
    assert page.title() == "Roo Vision"


def test_two_versions_side_by_side_and_other_tasks(page: Page, small: Server) -> None:
    with_key(page, small).get_by_role("button", name="Compare two").click()
    for pane, model in enumerate(("colour, version 1", "colour, version 2")):
        page.locator("#try-view .pane select").nth(pane).select_option(label=model)
    expect(page.locator("#threshold")).to_be_disabled()
    choose(page, "a.jpg", solid((0, 255, 0)))
    for pane, version in enumerate("12"):
        answered(page, pane)
        assert answer(page, pane)["version"] == version
        expect(page.locator("#try-view .pane").nth(pane).locator(".found button").first).to_contain_text("green")
    page.locator("#try-view .pane select").nth(1).select_option(label="parts")
    expect(page.locator("#try-view .summary").nth(1)).to_contain_text("classes on the picture")
    segment = answer(page, 1)["segmentation"]["segments"][0]
    canvas, x, y = at(page, segment["box"], 1)
    canvas.hover(position={"x": x, "y": y})
    expect(page.locator("#try-view .tip").nth(1)).to_contain_text(segment["label"])


def test_maps_lie_over_the_picture_and_vectors_are_told(page: Page, small: Server) -> None:
    with_key(page, small).locator("#try-view .pane select").select_option(label="heat")
    picture = Image.new("RGB", (320, 160), (255, 0, 0))
    picture.paste((51, 0, 0), (160, 0, 320, 160))
    file = io.BytesIO()
    picture.save(file, "PNG")
    choose(page, "a.png", file.getvalue())
    answered(page)
    expect(page.locator("#try-view .summary")).to_contain_text("3 maps, the first is shown")
    expect(page.locator("#try-view .found button").first).to_contain_text("red: 0.200 to 1.00 score")
    for box, number in (([0, 0, 160, 160], "red: 0.200 to 1.00 score · 1.00"), ([160, 0, 320, 160], "· 0.20")):
        canvas, x, y = at(page, box)
        canvas.hover(position={"x": x, "y": y})
        expect(page.locator("#try-view .tip")).to_contain_text(number)
    page.locator("#try-view .pane select").select_option(label="vector")
    expect(page.locator("#try-view .summary")).to_contain_text("vector of 3 numbers, length 1")
    expect(page.locator("#try-view .found button")).to_have_count(0)


def test_pictures_that_cannot_be_used_are_explained(page: Page, small: Server) -> None:
    trouble = with_key(page, small).locator("#try-view .pane .trouble")
    for name, content, sentence in (
        ("broken.jpg", solid((9, 9, 9))[:100], "cannot use this picture"),
        ("notes.txt", b"these are no pixels", "JPEG, PNG and WebP"),
        ("huge.png", png_header_claiming(20_000, 20_000), "pixels"),
        ("heavy.jpg", jpeg_of(2**20 + 1), "larger than the service takes"),
    ):
        choose(page, name, content)
        expect(trouble).to_contain_text(sentence)
        assert drawn(page) == []
    choose(page, "huge.png", png_header_claiming(20_000, 20_000))
    expect(page.locator("#trouble")).to_contain_text("400 megapixels")
    choose(page, "empty.jpg", b"")
    expect(page.locator("#trouble")).to_contain_text("empty")
    choose(page, "good.jpg", solid((250, 250, 250)))
    answered(page)
    expect(trouble).to_be_hidden()
    expect(page.locator("#trouble")).to_be_hidden()


def jpeg_of(size: int) -> bytes:
    """A picture with so many bytes behind it."""
    return solid((1, 2, 3)).ljust(size, b"\0")


def test_a_service_that_restarts_under_the_page_is_asked_again(page: Page, repository: Path) -> None:
    with serving(repository, default_model="box") as first:
        port = first.port
        choose(opened(page, first), "a.jpg", solid((255, 0, 0)))
        answered(page)
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator("#try-view .pane .trouble")).to_contain_text("does not answer")
    page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#status")).to_contain_text("does not answer")
    with serving(repository, default_model="box", port=port):
        expect(page.locator("#status")).to_have_text("ready")
        answered(page)
        expect(page.locator("#try-view .pane .trouble")).to_be_hidden()
        assert drawn(page)


def test_a_photograph_is_upright_and_a_large_one_drawn_reduced(page: Page, shelf: Server) -> None:
    picture, buffer = Image.new("RGB", (640, 400), (90, 60, 30)), io.BytesIO()
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    picture.save(buffer, "JPEG", exif=exif)
    choose(opened(page, shelf), "turned.jpg", buffer.getvalue())
    answered(page)
    assert answer(page)["image"] == {"width": 400, "height": 640}
    expect(page.locator("#picture")).to_contain_text("400 \u00d7 640")

    choose(page, "large.jpg", solid((90, 60, 30), (8000, 6250), "JPEG"))
    expect(page.locator("#picture")).to_contain_text("8000 \u00d7 6250")
    answered(page)
    assert answer(page)["image"] == {"width": 8000, "height": 6250}
    frame(page)
    canvas = page.locator("#try-view .pane canvas")
    width = canvas.evaluate("canvas => canvas.clientWidth")
    assert json.loads(canvas.get_attribute("data-place") or "")["scale"] == pytest.approx(width / 8000, rel=0.02)


def test_the_wheel_and_the_mouse_move_what_is_under_them(page: Page, shelf: Server) -> None:
    opened(page, shelf).get_by_role("button", name="shelf-1.jpg").click()
    answered(page)
    frame(page)
    canvas = page.locator("#try-view .pane canvas")
    canvas.scroll_into_view_if_needed()
    corner = canvas.bounding_box()
    assert corner is not None
    x, y = 200.0, 100.0
    before, fitted = under(canvas, x, y), canvas.get_attribute("data-place") or ""
    page.mouse.move(corner["x"] + x, corner["y"] + y)
    page.mouse.wheel(0, -400)
    expect(canvas).not_to_have_attribute("data-place", fitted)
    assert under(canvas, x, y) == pytest.approx(before, abs=3)
    page.mouse.down()
    page.mouse.move(corner["x"] + x - 30, corner["y"] + y - 20)
    page.mouse.up()
    frame(page)
    assert under(canvas, x - 30, y - 20) == pytest.approx(before, abs=3)


def under(canvas: Locator, x: float, y: float) -> tuple[float, float]:
    """Which pixel of the picture is at a place of the canvas."""
    place = json.loads(canvas.get_attribute("data-place") or "")
    return (x - place["left"]) / place["scale"], (y - place["top"]) / place["scale"]


@contextmanager
def looking(browser: Browser, **options: Any) -> Iterator[Page]:
    context = browser.new_context(**options)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize(
    "look",
    [
        pytest.param({"color_scheme": "light"}, id="light"),
        pytest.param({"color_scheme": "dark"}, id="dark"),
        pytest.param({"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}, id="phone"),
    ],
)
def test_axe_finds_nothing(browser: Browser, shelf: Server, look: dict[str, Any]) -> None:
    with looking(browser, **look) as page:
        opened(page, shelf).get_by_role("button", name="shelf-1.jpg").click()
        answered(page)
        found = Axe().run(page).response["violations"]
        page.get_by_role("button", name="Give a key").click()
        found += Axe().run(page).response["violations"]
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("link", name="Models").click()
        expect(page.locator("td").first).to_be_visible()
        found += Axe().run(page).response["violations"]
        assert not [(one["id"], one["nodes"][0]["html"]) for one in found]
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
