"""Photograph the console for `docs/console.md`: light, dark and on a phone (`make console-pictures`)."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.fixtures.bus_thread import BusThread, bus_thread
from tests.fixtures.letters import bury
from tests.fixtures.server import serving
from tests.servicebus.wire import octets

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
    """Serve the bundled model and a queue with dead letters, and photograph each view in each look."""
    with bus_thread("pictures,lock=60", "results") as bus:
        settings = {"servicebus_connection_string": bus.connection_string, "queue": "pictures"}
        bury_some(bus)
        with (
            serving(ROOT / "models", **settings, results_queue="results", queue_control="open") as server,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for look, options in LOOKS.items():
                page_url = f"{server.url}/console/"
                _photograph(browser, page_url, FOLDER / f"console-{look}.jpg", options, try_it)
                _photograph(browser, f"{page_url}#queue", FOLDER / f"console-queue-{look}.jpg", options, queue)
            browser.close()


def bury_some(bus: BusThread) -> None:
    """Dead letters of two kinds."""
    examples = [path.read_bytes() for path in sorted((ROOT / "models" / "shelf" / "examples").glob("*.jpg"))]
    for number in range(40):
        robot, broken = f"robot-{number % 5 + 1}", number % 3 == 0
        picture = examples[number % len(examples)]
        message = octets(
            picture[: len(picture) // 2] if broken else picture,
            message_id=f"{robot}-{number:04}",
            content_type="image/jpeg",
            application_properties={"robot_id": robot, "aisle": "A-12", "model": "shelf" if broken else "rack"},
        )
        reason = ("InvalidImage", "The JPEG is cut short.") if broken else ("ModelNotFound", "No model 'rack' is here.")
        _bury(bus, message, *reason)


def _bury(bus: BusThread, message: bytes, reason: str, description: str) -> None:
    bus.call(lambda broker: bury(broker, message, reason=reason, description=description, queue="pictures"))


def try_it(page: Page) -> None:
    """An example, answered."""
    page.get_by_role("button", name="shelf-2.jpg").click()
    page.locator(".summary", has_text="version").wait_for()
    page.locator(".found button", has_text=" · ").nth(3).hover()  # one of them is brought out


def queue(page: Page) -> None:
    """Two letters chosen and one opened."""
    for row in (1, 2):
        page.locator(".letter input").nth(row).check()
    page.locator(".letter button").nth(1).click()
    page.locator("#letter-canvas[data-place]").wait_for()


def _photograph(
    browser: Browser, url: str, target: Path, options: dict[str, Any], prepare: Callable[[Page], None]
) -> None:
    context = browser.new_context(**options)
    page = context.new_page()
    page.goto(url)
    prepare(page)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.evaluate("() => scrollTo(0, 0)")
    page.screenshot(path=target, type="jpeg", quality=QUALITY)
    context.close()


if __name__ == "__main__":
    main()
