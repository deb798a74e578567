"""What operators do with dead letters, in a real browser, against a real service and a broker."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from app.devbus.amqp.message import parse
from tests.fixtures.bus_thread import BusThread, bus_thread
from tests.fixtures.letters import bury, purge
from tests.fixtures.models import add_colour_model
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import until
from tests.servicebus.wire import octets

VIEWER, OPERATOR = "a-viewers-own-and-secret-key", "an-operators-own-secret-key"
MARKUP = "<img src=x onerror=\"document.title='hacked'\"><b>bold</b>"
RED = (255, 0, 0)
LOOKS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True},
}


@pytest.fixture(scope="module")
def bus() -> Iterator[BusThread]:
    with bus_thread("jobs,lock=60", "results") as running:
        yield running


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(f"vera:{VIEWER} viewer\notto:{OPERATOR} operator\n")
    return path


@pytest.fixture(scope="module")
def server(bus: BusThread, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A worker of the queue; its console is for holders of a key."""
    root = tmp_path_factory.mktemp("models")
    add_colour_model(root)
    queue = {"servicebus_connection_string": bus.connection_string, "queue": "jobs", "results_queue": "results"}
    with serving(root, auth="keys", api_keys_file=keys, **queue) as running:
        yield running


@pytest.fixture(autouse=True)
def empty(bus: BusThread) -> None:
    """No letter of another test is left."""
    bus.call(lambda broker: purge(*filter(None, (broker.queue("jobs").dead_letters, broker.queue("results")))))


def letter(name: str, body: bytes | None = None, **properties: str) -> bytes:
    content = solid(RED) if body is None else body
    return octets(content, message_id=name, content_type="image/png", application_properties=properties)


def bury_in(bus: BusThread, *letters: bytes, reason: str = "ModelNotFound", description: str = "none") -> None:
    bus.call(lambda broker: bury(broker, *letters, reason=reason, description=description))


def opened(page: Page, server: Server, key: str) -> Page:
    page.goto(f"{server.url}/console/#queue")
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Use this key").click()
    expect(page.locator("#queues td").first).to_have_text("jobs")
    return page


def test_poison_appears_and_is_sent_again_and_its_result_arrives(page: Page, server: Server, bus: BusThread) -> None:
    poison = octets(
        solid(RED), message_id="poison", content_type="image/png", application_properties={"model": "nobody"}
    )
    bus.call(lambda broker: broker.queue("jobs").send(parse(poison), 0.0))
    until(lambda: bus.call(lambda broker: broker.queue("jobs").depths.dead_lettered) == 1)
    opened(page, server, OPERATOR)
    row = page.locator(".letter")
    expect(row).to_contain_text("poison")
    row.get_by_role("button").click()
    expect(page.locator("#letter-facts")).to_contain_text("nobody")
    place = page.locator("#letter-canvas[data-place]")
    place.wait_for()
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    middle = "(canvas) => [...canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data]"
    red, green, *_ = place.evaluate(middle)
    assert red > 200 > 60 > green

    row.get_by_role("checkbox").focus()
    page.keyboard.press("Space")
    expect(page.locator("#letters-count")).to_contain_text("1 chosen")
    page.get_by_role("button", name="Send chosen again").press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Send 1 dead letter again?")
    dialog.get_by_label("Model").select_option("colour")
    dialog.get_by_role("button", name="Send again").click()
    expect(page.locator("#order-trouble")).to_contain_text("duplicate_window")
    dialog.get_by_label("Duplicate window").fill("0")
    dialog.get_by_role("button", name="Send again").click()
    expect(page.locator("#order-told")).to_have_text("1 of 1 done")
    until(lambda: bus.call(lambda broker: broker.queue("results").depths.total) == 1)
    (result,) = bus.call(lambda broker: [json.loads(bytes(one.body)) for one in broker.queue("results").peek()])
    assert (result["request_id"], result["model"]) == ("poison", "colour")
    dialog.get_by_role("button", name="Close").click()
    expect(page.locator("#letters-count")).to_have_text("0 dead letters")
    page.get_by_text("What operators did").click()
    expect(page.locator("#audit li").first).to_contain_text("key:otto · resubmit ended")


def test_a_viewer_sees_and_changes_nothing(page: Page, server: Server, bus: BusThread) -> None:
    bury_in(bus, letter("seen"))
    opened(page, server, VIEWER)
    page.locator(".letter").get_by_role("checkbox").check()
    expect(page.locator("#letters-count")).to_contain_text("1 chosen")
    for name in ("Send chosen again", "Send all of these again", "Drop chosen", "Drop all of these"):
        expect(page.get_by_role("button", name=name)).to_be_disabled()
    expect(page.locator("#viewer-hint")).to_be_visible()
    # Not even who helps himself to the button.
    page.evaluate("() => document.getElementById('drop-chosen').disabled = false")
    page.get_by_role("button", name="Drop chosen").click()
    page.get_by_label("Reason", exact=True).last.fill("out of spite")
    page.get_by_role("button", name="Drop for good").click()
    expect(page.locator("#order-trouble")).to_contain_text("This key may not do that.")
    assert bus.call(lambda broker: broker.queue("jobs").depths.dead_lettered) == 1


def test_what_senders_say_stays_text_and_filters_find_it(page: Page, server: Server, bus: BusThread) -> None:
    bury_in(bus, letter(MARKUP, robot_id=MARKUP, shelf=MARKUP), description=MARKUP, reason=MARKUP)
    bury_in(bus, letter("broken", b"no picture"), reason="InvalidImage")
    opened(page, server, OPERATOR)
    expect(page.locator(".letter")).to_have_count(2)
    page.get_by_label("Robot").fill(MARKUP)
    page.get_by_label("Robot").press("Enter")
    expect(page.locator(".letter")).to_have_count(1)
    page.locator(".letter button").click()
    expect(page.locator("#letter-title")).to_have_text(MARKUP)
    expect(page.locator("#letter-facts")).to_contain_text("shelf")
    page.get_by_role("button", name="Drop all of these").click()
    page.get_by_label("Reason", exact=True).last.fill(MARKUP)
    page.get_by_role("button", name="Drop for good").click()
    expect(page.locator("#order-told")).to_have_text("1 of 1 done")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.get_by_label("Robot").fill("")
    page.get_by_role("button", name="Show", exact=True).click()
    page.locator(".letter button").click()
    expect(page.locator("#letter-trouble")).to_contain_text("JPEG, PNG and WebP")
    page.get_by_text("What operators did").click()
    expect(page.locator("#audit li").nth(1)).to_contain_text("onerror")
    assert page.locator("img, main b").count() == 0
    assert page.title() == "Roo Vision"


def test_ten_thousand_scroll_and_few_are_in_the_page(page: Page, server: Server, bus: BusThread) -> None:
    bury_in(bus, *(letter(f"m{number:05}", b"x") for number in range(10_000)))
    opened(page, server, OPERATOR)
    rows = page.locator(".letter")
    expect(page.locator("#letters-count")).to_have_text("200 and more dead letters")
    page.get_by_role("button", name="Drop all of these").click()
    expect(page.get_by_role("dialog")).to_contain_text("Drop 10000 dead letters for good?")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.locator("#letters-count")).to_have_text("10000 dead letters")
    page.locator("#letters").evaluate("(list) => list.scrollTo(0, list.scrollHeight)")
    expect(rows.last).to_contain_text("m09999")
    assert rows.count() < 60
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#letters-count")).to_have_text("200 and more dead letters")
    page.locator("#letters").evaluate("(list) => list.scrollTo(0, list.scrollHeight)")
    expect(page.locator("#letters-count")).to_have_text("400 and more dead letters")


def test_a_key_that_ends_in_the_middle_and_a_service_that_is_away_are_told(
    page: Page, server: Server, bus: BusThread, keys: Path
) -> None:
    bury_in(bus, letter("one"))
    opened(page, server, OPERATOR)
    page.context.set_offline(True)
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#queue-trouble")).to_contain_text("does not answer")
    page.context.set_offline(False)
    before = keys.read_text()
    keys.write_text(f"vera:{VIEWER} viewer\n")
    until(lambda: "API keys read again" in server.log)
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#key-trouble")).to_contain_text("does not know this one")
    keys.write_text(before)
    page.get_by_label("Key", exact=True).fill(VIEWER)
    page.get_by_role("button", name="Use this key").click()
    expect(page.locator(".letter")).to_contain_text("one")
    expect(page.locator("#queue-trouble")).to_be_hidden()


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing(browser: Browser, server: Server, bus: BusThread, look: str) -> None:
    bury_in(bus, letter("one", robot_id="r1"), letter("two", b"no picture"))
    options: dict[str, Any] = LOOKS[look]
    context = browser.new_context(**options)
    page = opened(context.new_page(), server, OPERATOR)
    found = []
    for name in ("one", "two"):
        page.locator(".letter", has_text=f"· {name}").get_by_role("button").click()
        expect(page.locator("#letter-title")).to_have_text(name)
        expect(page.locator("#letter-canvas" if name == "one" else "#letter-trouble")).to_be_visible()
        found += Axe().run(page).response["violations"]
    page.get_by_role("button", name="Send all of these again").click()
    found += Axe().run(page).response["violations"]
    context_fits = page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    context.close()
    assert not [(one["id"], one["nodes"][0]["html"]) for one in found]
    assert context_fits
