"""Whatever clients name things is text; languages and themes are a person's choice."""

import httpx
import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.console.conftest import Console
from tests.console.pictures import red_picture
from tests.serving.conftest import Service

HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "{{constructor.constructor('alert(1)')()}} ${alert(1)} & &amp;",
    "exe.\u202egnp.\u2067x\u2069",
]


def never(dialog: Dialog) -> None:
    dialog.dismiss()
    raise AssertionError(dialog.message)


def is_wider_than_its_window(page: Page) -> bool:
    wide: bool = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return wide


@pytest.mark.parametrize("name", [*HOSTILE, "long " * 20])
def test_key_names_are_text(console: Console, session: str, admin: httpx.Client, name: str) -> None:
    made = admin.post("/api/v1/admin/api-keys", json={"name": name}).json()
    try:
        page = console.open("/keys", session=session, viewport={"width": 900, "height": 700})
        page.on("dialog", never)
        shown = page.locator(f"#rename-{made['id']}").locator("xpath=../bdi")
        assert shown.text_content() == made["name"]
        assert not is_wider_than_its_window(page)
        page.get_by_role("row").filter(has=shown).get_by_role("button").last.click()
        expect(page.get_by_role("dialog")).to_contain_text(made["name"])
    finally:
        admin.delete(f"/api/v1/admin/api-keys/{made['id']}")


@pytest.mark.parametrize("name", [*HOSTILE, "n" * 1000, "é" * 1000])
def test_file_names_are_text(
    console: Console, session: str, service: Service, admin: httpx.Client, name: str
) -> None:
    answer = httpx.post(
        f"{service.url}/api/v1/mask",
        files={"image": (f"{name}.png", red_picture(), "image/png")},
        headers={"X-API-Key": service.api_key},
        timeout=60,
    )
    image_id, job_id = answer.headers["x-image-id"], answer.headers["x-job-id"]
    kept = admin.get(f"/api/v1/admin/images/{image_id}").json()["filename"]
    try:
        page = console.open("/images", session=session)
        page.on("dialog", never)
        assert page.locator(".card .name").first.text_content() == kept
        assert not is_wider_than_its_window(page)
        page.goto(f"{console.url}/console/images/{image_id}")
        expect(page.locator("h1")).to_have_text(kept)
        assert not is_wider_than_its_window(page)
        page.goto(f"{console.url}/console/jobs/{job_id}")
        expect(page.locator("dd a")).to_contain_text(kept[:60])
        assert not is_wider_than_its_window(page)
        page.close()  # or it asks for the preview of what is deleted
    finally:
        admin.delete(f"/api/v1/admin/images/{image_id}")


def test_a_path_that_is_markup_is_no_page(console: Console, session: str) -> None:
    page = console.open("/<script>alert(1)</script>", session=session)
    page.on("dialog", never)
    expect(page.get_by_text("The address names no page of the console.")).to_be_visible()


def test_korean_is_one_choice_away_and_stays_chosen(console: Console, session: str) -> None:
    page = console.open("/keys", session=session)
    page.get_by_label("Language").select_option("ko")
    expect(page.get_by_role("heading", name="API 키")).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "ko"
    page.reload()
    expect(page.get_by_role("button", name="키 만들기")).to_be_visible()


def test_a_korean_browser_is_greeted_in_korean(console: Console) -> None:
    page = console.open(expected={401}, locale="ko-KR")
    expect(page.get_by_role("heading", name="로그인")).to_be_visible()


def test_a_theme_is_the_systems_unless_chosen(console: Console, session: str) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = console.open("/keys", session=session, color_scheme="light").evaluate(background)
    page = console.open("/keys", session=session, color_scheme="dark")
    dark = page.evaluate(background)
    assert dark != light
    page.get_by_label("Theme").select_option("light")
    assert page.evaluate(background) == light
    page.reload()
    page.wait_for_selector("h1")
    assert page.evaluate(background) == light
    page.get_by_label("Theme").select_option("system")
    assert page.evaluate(background) == dark
