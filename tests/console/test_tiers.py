"""A tier that is off has a page that says so, and the rest works."""

from pathlib import Path

from playwright.sync_api import expect

from tests.console.conftest import Started, log_in
from tests.console.pictures import red_picture


def test_without_storage_everything_else_works(start_here: Started, database: str, tmp_path: Path) -> None:
    pages = start_here(database_url=database, admin_password="right")
    token = log_in(pages.url, "admin", "right")
    page = pages.open(session=token, expected={501})
    expect(page.get_by_role("heading", name="All systems work")).to_be_visible()
    storage = page.get_by_role("list", name="Tiers").get_by_role("listitem").filter(has_text="Storage")
    expect(storage).to_contain_text("off")
    expect(page.get_by_role("heading", name="Nothing is stored here")).to_be_visible()
    for name in ("Images", "Jobs"):
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", name="Nothing is stored here")).to_be_visible()
        expect(page.get_by_text("FACE_API_STORAGE_ENABLED=true")).to_be_visible()
    page.get_by_role("link", name="Try a picture of your own").click()
    photo = tmp_path / "photo.png"
    photo.write_bytes(red_picture(faces=2))
    page.locator("input[type=file]").set_input_files(photo)
    expect(page.get_by_text("2 of 2 candidates kept")).to_be_visible()
    page.get_by_role("link", name="API keys").click()
    expect(page.get_by_text("No API keys yet")).to_be_visible()


def test_without_a_database_the_console_says_what_it_needs(start_here: Started) -> None:
    pages = start_here(database_url="off", api_key_enabled=False)
    page = pages.open(expected={501})
    expect(page.get_by_role("heading", name="The console is switched off here")).to_be_visible()
    expect(page.get_by_text("FACE_API_DATABASE_URL and FACE_API_ADMIN_PASSWORD")).to_be_visible()
    expect(page.get_by_label("Password")).to_have_count(0)
