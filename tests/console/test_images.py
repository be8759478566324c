"""Images: the grid, its pages, one image with its jobs, and deleting."""

import httpx
from playwright.sync_api import Page, expect

from tests.console.conftest import Console, Filled
from tests.console.pictures import red_picture
from tests.serving.conftest import Service


def wait_for_pictures(page: Page, selector: str) -> None:
    page.wait_for_function(
        "selector => { const all = [...document.querySelectorAll(selector)];"
        " return all.length > 0 && all.every(i => i.complete && i.naturalWidth > 0) }",
        arg=selector,
    )


def upload(service: Service, name: str) -> str:
    """Id of a new image."""
    answer = httpx.post(
        f"{service.url}/api/v1/mask",
        files={"image": (name, red_picture(), "image/png")},
        headers={"X-API-Key": service.api_key},
        timeout=60,
    )
    image_id: str = answer.headers["x-image-id"]
    return image_id


def test_the_grid_shows_originals_and_results_and_its_pages_are_in_the_address(
    console: Console, session: str, filled: Filled
) -> None:
    page = console.open("/images", session=session)
    cards = page.locator(".card")
    expect(cards).to_have_count(24)
    wait_for_pictures(page, ".card:first-child img")
    first = cards.nth(1)  # the newest was only looked at, so it has no result
    expect(cards.first).to_contain_text("no result")
    expect(first.locator("img")).to_have_count(2)
    for fact in ("picture 28.png", "640 × 640", "1 job"):
        expect(first).to_contain_text(fact)
    last_card = page.locator(".card").last.locator("img").first
    assert last_card.get_attribute("loading") == "lazy"
    page.get_by_role("link", name="Next", exact=True).click()
    expect(cards).to_have_count(6)
    assert page.url.endswith("/console/images?page=2")
    page.reload()
    expect(page.get_by_text("25–30 of 30")).to_be_visible()
    page.go_back()
    expect(cards).to_have_count(24)


def test_a_page_beyond_the_last_says_so(console: Console, session: str, filled: Filled) -> None:
    page = console.open("/images?page=99", session=session, expected={404})
    expect(page.get_by_text("The list is shorter than that.")).to_be_visible()
    page.get_by_role("link", name="Go to the first page").click()
    expect(page.locator(".card")).to_have_count(24)


def test_an_image_is_shown_with_its_result_and_all_its_jobs(
    console: Console, session: str, filled: Filled
) -> None:
    page = console.open(f"/images/{filled.image_ids[3]}", session=session)
    expect(page.get_by_role("heading", name="picture 03.png")).to_be_visible()
    wait_for_pictures(page, ".pictures img")
    expect(page.locator(".pictures img")).to_have_count(2)
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("Elliptical")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the original").click()
    assert download.value.suggested_filename == "picture 03.png"
    assert download.value.path().read_bytes() == red_picture(faces=1 + 3 % 3)
    rows.first.get_by_role("link").click()
    expect(page.get_by_role("heading", name="Mask job")).to_be_visible()


def test_an_unknown_image_is_said_in_a_friendly_way(console: Console, session: str) -> None:
    unknown = "00000000-0000-0000-0000-000000000000"
    page = console.open(f"/images/{unknown}", session=session, expected={404})
    expect(page.get_by_text("There is no such image.")).to_be_visible()


def test_one_image_is_deleted_after_a_question(console: Console, session: str, service: Service) -> None:
    image_id = upload(service, "to be deleted.png")
    page = console.open(f"/images/{image_id}", session=session)
    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete this image?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    page.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("1 image deleted.")).to_be_visible()
    expect(page.get_by_role("heading", name="Images")).to_be_visible()
    expect(page.get_by_text("to be deleted.png")).to_have_count(0)


def test_several_images_are_deleted_at_once(
    console: Console, session: str, service: Service, admin: httpx.Client, filled: Filled
) -> None:
    names = ["several 1.png", "several 2.png", "several 3.png"]
    ids = [upload(service, name) for name in names]
    page = console.open("/images", session=session)
    for name in names:
        page.get_by_role("checkbox", name=f"Select {name}").check()
    expect(page.get_by_text("3 selected")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog", name="Delete 3 images?").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("3 images deleted.")).to_be_visible()
    expect(page.get_by_text("several 1.png")).to_have_count(0)
    assert [admin.get(f"/api/v1/admin/images/{image_id}").status_code for image_id in ids] == [404] * 3
