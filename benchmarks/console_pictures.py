"""Photograph the console for `docs/console.md`: light, dark and on a phone (`make console-pictures`)."""

import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from tests.fixtures.server import serving

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "images"
DESK = {"viewport": {"width": 1200, "height": 760}}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {**DESK, "color_scheme": "light"},
    "dark": {**DESK, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 800}, "has_touch": True, "is_mobile": True},
}
QUALITY = 80


def main() -> None:
    """Serve the bundled model, have it answer an example, and photograph the page in each look."""
    with serving(ROOT / "models") as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for look, options in LOOKS.items():
            _photograph(browser, f"{server.url}/console/", FOLDER / f"console-{look}.jpg", options)
        browser.close()


def _photograph(browser: Browser, url: str, target: Path, options: dict[str, Any]) -> None:
    context = browser.new_context(**options)
    page = context.new_page()
    page.goto(url)
    page.get_by_role("button", name="shelf-2.jpg").click()
    page.locator(".summary", has_text="version").wait_for()
    page.locator(".found button", has_text=" · ").nth(3).hover()  # one of them is brought out
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.evaluate("() => scrollTo(0, 0)")
    page.screenshot(path=target, type="jpeg", quality=QUALITY)
    context.close()


if __name__ == "__main__":
    main()
