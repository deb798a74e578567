"""What somebody sees who looks at the running service."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.fixtures.pictures import solid
from tests.fixtures.server import Server, serving

PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


def test_figures_come_and_a_service_that_restarts_is_found_again(page: Page, repository: Path) -> None:
    with serving(repository, default_model="box") as first:
        port = first.port
        page.goto(f"{first.url}/console/#live")
        expect(page.locator("#live-models tr")).to_have_count(3)
        expect(page.locator("#live-checks")).to_contain_text("lanes")
        for _ in range(20):
            httpx.post(f"{first.url}/v1/predict", content=solid((255, 0, 0)), timeout=60)
        expect(page.locator("#live-latency tr").first).to_contain_text("ms")
        expect(page.locator("#live-now")).not_to_have_text("0 pictures a second")
        first.terminate()
        first.wait()
        expect(page.locator("#live-trouble")).to_be_visible()
        expect(page.locator("#live-figures[data-stale]")).to_be_visible()
    with serving(repository, default_model="box", port=port):
        expect(page.locator("#live-trouble")).to_be_hidden()
        expect(page.locator("#live-figures[data-stale]")).to_have_count(0)


def test_nobody_is_told_who_does_not_look(page: Page, server: Server) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/console/live") else None)
    page.goto(f"{server.url}/console/")
    expect(page.locator("#panes select")).to_contain_text("colour")
    assert asked == []
    with page.expect_request("**/console/live"):
        page.get_by_role("link", name="Live").click()
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/console/live")):
        page.get_by_role("link", name="Models").click()


@pytest.mark.parametrize("look", [{"color_scheme": "light"}, {"color_scheme": "dark"}, PHONE])
def test_axe_finds_nothing(browser: Browser, server: Server, look: dict[str, Any]) -> None:
    context = browser.new_context(**look)
    page = context.new_page()
    page.goto(f"{server.url}/console/#live")
    expect(page.locator("#live-models tr")).to_have_count(3)
    found = Axe().run(page).response["violations"]
    fits = page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    context.close()
    assert not [(one["id"], one["nodes"][0]["html"]) for one in found]
    assert fits
