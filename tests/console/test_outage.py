"""The service is stopped under an open console, and started again. Runs last: all tests share it."""

from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import expect

from tests.console.conftest import Console, Filled
from tests.console.pictures import red_picture
from tests.serving.conftest import Service, start, stop


def test_a_stopped_service_is_said_on_every_page_and_all_goes_on_when_it_is_back(
    console: Console, session: str, service: Service, filled: Filled, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(red_picture())
    page = console.open("/images", session=session, may_be_unreachable=True)
    expect(page.locator(".card")).to_have_count(24)
    dashboard = console.open(session=session, may_be_unreachable=True)
    expect(dashboard.locator("canvas")).to_be_visible()
    login = console.open(expected={401}, may_be_unreachable=True)

    stop(service)
    banner = page.get_by_role("alert").filter(has_text="The service does not answer.")
    expect(dashboard.get_by_role("alert").filter(has_text="The service does not answer.")).to_be_visible()
    page.get_by_role("link", name="Next", exact=True).click()
    expect(banner).to_be_visible()
    for name in ("Jobs", "API keys", "Test"):
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", name=name)).to_be_visible()
        expect(banner).to_be_visible()
    login.locator("#username").fill(service.credentials["admin_user"])
    login.locator("#password").fill(service.credentials["admin_password"])
    login.keyboard.press("Enter")
    expect(login.locator("#login-error")).to_have_text("The service does not answer")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Jobs").click()

    asked: list[str] = []
    login.on("request", lambda request: asked.append(request.url))
    login.wait_for_timeout(3000)
    assert len(asked) <= 4, asked  # it asks every two seconds, not all the time

    port = str(urlsplit(service.url).port)
    weights = str(service.log.parent / "tiny.onnx")
    again = start(service.log.parent, FACE_API_MODEL=weights, FACE_API_PROVIDER="cpu", PORT=port)
    try:
        expect(banner).to_have_count(0)
        expect(page.locator("tbody tr")).to_have_count(30)  # the session and the data outlived it
        expect(dashboard.get_by_role("heading", name="All systems work")).to_be_visible()
    finally:
        stop(again)
