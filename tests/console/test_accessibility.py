"""For everybody: axe-core finds nothing serious on any page, and a keyboard is enough."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import AXE, Console, Filled
from tests.console.pictures import red_picture

WORST = {"serious", "critical"}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}, "has_touch": True},
}


def violations(page: Page) -> list[str]:
    """What axe-core says of a page, one line for each rule that is broken seriously."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{rule['id']}: {[node['target'] for node in rule['nodes']][:3]} {rule['nodes'][0]['failureSummary']}"
        for rule in found["violations"]
        if rule["impact"] in WORST
    ]


def is_wider_than_its_window(page: Page) -> bool:
    wide: bool = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return wide


@pytest.mark.parametrize("look", LOOKS)
def test_no_page_is_seriously_inaccessible_or_too_wide(
    console: Console, session: str, filled: Filled, tmp_path: Path, look: str
) -> None:
    page = console.open(session=session, **LOOKS[look])
    places = {
        "": "canvas",
        "/images": ".card img",
        f"/images/{filled.image_ids[0]}": "tbody tr",
        "/jobs": "tbody tr",
        f"/jobs/{filled.job_ids[2]}": "[data-face]",
        "/keys": "tbody tr",
        "/test": ".parameter",
        "/nowhere": ".notice",
    }
    problems = {}
    for path, selector in places.items():
        page.goto(f"{console.url}/console{path}")
        page.wait_for_selector(selector)
        problems[path or "/"] = violations(page)
        assert not is_wider_than_its_window(page), path
    assert problems == {path or "/": [] for path in places}
    photo = tmp_path / "photo.png"
    photo.write_bytes(red_picture(faces=2))
    page.goto(f"{console.url}/console/test")
    page.locator("input[type=file]").set_input_files(photo)
    page.wait_for_selector(".tile")
    expect(page.locator(".busy")).to_have_count(0)
    page.locator("summary").click()
    assert violations(page) == []
    assert not is_wider_than_its_window(page)


@pytest.mark.parametrize("look", ["light", "dark"])
def test_login_and_dialogs_are_accessible(console: Console, session: str, filled: Filled, look: str) -> None:
    page = console.open(expected={401}, **LOOKS[look])
    page.locator("#username").fill("somebody")
    page.locator("#password").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#login-error")).to_be_visible()
    assert violations(page) == []
    page = console.open("/keys", session=session, **LOOKS[look])
    page.get_by_role("button", name="Create a key").click()
    assert violations(page) == []
    page = console.open(f"/images/{filled.image_ids[0]}", session=session, **LOOKS[look])
    page.get_by_role("button", name="Delete").click()
    assert violations(page) == []


def focused(page: Page) -> str:
    name: str = page.evaluate(
        "(document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent).trim()"
    )
    return name


def test_a_keyboard_is_enough(console: Console, session: str, filled: Filled) -> None:
    page = console.open("/keys", session=session)
    page.wait_for_selector("tbody tr")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused(page) == "Create a key"
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    for _ in range(6):  # the focus stays in the dialog
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement === document.body || !!document.activeElement.closest('dialog')"
        )
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert focused(page) == "Create a key"
    page.get_by_role("link", name="Jobs").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("tbody tr")
    assert focused(page) == "Jobs"  # the new page's heading
    assert page.title() == "Jobs · Face API"
