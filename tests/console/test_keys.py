"""API keys: made, shown once, renamed, revoked, restored, deleted, and counted."""

import time

import httpx
from playwright.sync_api import Locator, Page, expect

from tests.console.conftest import Console
from tests.console.pictures import red_picture
from tests.serving.conftest import Service


def row_of(page: Page, name: str) -> Locator:
    return page.locator("tbody tr").filter(has_text=name)


def detect(service: Service, key: str) -> int:
    headers = {"X-API-Key": key, "Content-Type": "image/png"}
    query = {"store": "none"}
    answer = httpx.post(
        f"{service.url}/api/v1/detect", content=red_picture(), headers=headers, params=query, timeout=60
    )
    return answer.status_code


def wait_for(service: Service, key: str, status: int) -> None:
    """Replicas hear of a change within seconds."""
    deadline = time.monotonic() + 30
    while detect(service, key) != status:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_key_lives_its_whole_life_in_the_console(console: Console, session: str, service: Service) -> None:
    page = console.open("/keys", session=session, permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Create a key").click()
    page.get_by_label("Name", exact=True).fill("Life of a key")
    page.get_by_role("dialog").get_by_role("button", name="Create a key").click()
    shown = page.get_by_role("dialog", name="Your new key")
    expect(shown).to_contain_text("it is shown this once")
    key = shown.locator("code").inner_text()
    assert key.startswith("xyl_")
    shown.get_by_role("button", name="Copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == key
    page.keyboard.press("Escape")  # a slip must not cost the key
    expect(shown).to_be_visible()
    assert detect(service, key) == 200
    shown.get_by_role("button", name="I have copied it").click()
    row = row_of(page, "Life of a key")
    expect(row).to_contain_text(f"{key[:11]}...{key[-8:]}")
    assert key not in page.content()

    page.get_by_role("button", name="Rename Life of a key").click()
    page.get_by_role("textbox", name="Rename Life of a key").fill("Second life")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The key was renamed.")).to_be_visible()
    row = row_of(page, "Second life")

    row.get_by_role("button", name="Revoke Second life").click()
    expect(row).to_contain_text("Revoked")
    wait_for(service, key, 403)
    row.get_by_role("button", name="Restore Second life").click()
    expect(row).to_contain_text("Active")
    wait_for(service, key, 200)

    def has_usage() -> bool:
        page.reload()
        expect(row_of(page, "Second life")).to_be_visible()
        return row_of(page, "Second life").locator(".requests").inner_text() != "0"

    deadline = time.monotonic() + 30
    while not has_usage():
        assert time.monotonic() < deadline

    row.get_by_role("button", name="Delete Second life").click()
    question = page.get_by_role("dialog", name="Delete this key?")
    expect(question).to_contain_text("Second life")
    question.get_by_role("button", name="Delete").click()
    expect(row_of(page, "Second life")).to_have_count(0)
    wait_for(service, key, 401)


def test_escape_leaves_a_name_as_it_was(console: Console, session: str) -> None:
    page = console.open("/keys", session=session)
    page.get_by_role("button", name="Rename first key").click()
    page.keyboard.type("something else")
    page.keyboard.press("Escape")
    expect(row_of(page, "first key")).to_be_visible()


def test_a_name_the_service_refuses_is_said_beside_the_field(console: Console, session: str) -> None:
    page = console.open("/keys", session=session, expected={422})
    page.get_by_role("button", name="Create a key").click()
    page.get_by_label("Name", exact=True).fill("   ")
    page.get_by_role("dialog").get_by_role("button", name="Create a key").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("name")
