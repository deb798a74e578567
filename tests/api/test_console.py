"""The console's files and its examples, as the service gives them out."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.api.console.examples import MOST_EXAMPLES, Examples
from app.api.console.routes import FILES, FOLDER
from tests.fixtures.models import add_box_model
from tests.fixtures.pictures import solid
from tests.fixtures.server import serving

KEY = "a-key-that-nobody-guesses-0123456789"
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def add_examples(folder: Path, *names: str) -> None:
    """Pictures in a model's folder `examples`."""
    (folder / "examples").mkdir(exist_ok=True)
    for name in names:
        (folder / "examples" / name).write_bytes(solid((1, 2, 3)))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Somebody without a key, before a service that asks for one."""
    root = tmp_path_factory.mktemp("models")
    add_examples(add_box_model(root), "a.png", "<b>.jpg", "notes.txt")
    (root / "box" / "examples" / "away.png").symlink_to("/etc/passwd")
    (root / "other" / "examples").mkdir(parents=True)
    (root / "other" / "examples" / "secret.png").write_bytes(b"not served")
    keys = root.parent / "keys"
    keys.write_text(KEY)
    with serving(root, auth="keys", api_keys_file=keys) as server, server.client() as client:
        yield client


def test_browsers_are_led_to_the_console_and_others_to_the_documentation(guarded: httpx.Client) -> None:
    assert guarded.get("/", headers=BROWSER).headers["location"] == "console/"
    assert guarded.get("/").headers["location"] == "docs"
    assert guarded.get("/console").headers["location"] == "console/"


def test_the_page_is_for_anybody_and_runs_only_its_own_files(guarded: httpx.Client) -> None:
    page = guarded.get("/console/")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", page.text)
    imported = {name for file in FOLDER.glob("*.js") for name in re.findall(r'from "\./([^"]+)"', file.read_text())}
    for name in {*re.findall(r'(?:src|href)="([^"#]+)"', page.text), *imported}:
        assert name in FILES
    for name in FILES:
        answer = guarded.get(f"/console/{name}")
        assert answer.content == (FOLDER / name).read_bytes()
        assert answer.headers["cache-control"] == "no-cache"


def test_no_file_makes_markup_of_text() -> None:
    for file in FOLDER.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|DOMParser", file.read_text()
        )


def test_examples_are_for_those_with_a_key_and_only_of_models_that_are_served(guarded: httpx.Client) -> None:
    for path in ("/console/examples", "/console/examples/box/a.png"):
        assert guarded.get(path).status_code == 401
    key = {"x-api-key": KEY}
    listed = guarded.get("/console/examples", headers=key).json()
    assert listed == [{"model": "box", "name": "<b>.jpg"}, {"model": "box", "name": "a.png"}]
    assert guarded.get("/console/examples/box/a.png", headers=key).content == solid((1, 2, 3))
    for path in (
        "box/notes.txt",
        "box/away.png",
        "other/secret.png",
        "box/..%2Fmodel.yaml",
        "../box/a.png",
        "box/none.png",
    ):
        assert guarded.get(f"/console/examples/{path}", headers=key).status_code == 404


def test_examples_are_bounded(tmp_path: Path) -> None:
    folder = add_box_model(tmp_path)
    add_examples(folder, *(f"{number:02}.png" for number in range(MOST_EXAMPLES + 3)))
    (folder / "examples" / "00.png").write_bytes(b"x" * 1000)
    found = [path.name for path in Examples(tmp_path, None, 999).of("box")]
    assert found == [f"{number:02}.png" for number in range(1, MOST_EXAMPLES + 1)]
    assert Examples(folder, "called", 999).of("called") == Examples(tmp_path, None, 999).of("box")


def test_a_setting_takes_it_away(repository: Path) -> None:
    with serving(repository, default_model="box", console="false") as server, server.client() as client:
        assert client.get("/", headers=BROWSER).headers["location"] == "docs"
        for path in ("/console", "/console/", f"/console/{FILES[0]}", "/console/examples"):
            assert client.get(path).status_code == 404
