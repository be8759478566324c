"""Getting in, being kept out, and coming back to where one was."""

import re

import httpx
from playwright.sync_api import Page, expect

from tests.console.conftest import Console, Filled, Started, log_in
from tests.serving.conftest import Service


def fill_in(page: Page, username: str, password: str) -> None:
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Log in").click()


def test_a_page_without_a_session_asks_for_one_and_then_shows_itself(
    console: Console, service: Service, filled: Filled
) -> None:
    page = console.open("/jobs?method=solid", expected={401})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    expect(page.locator("table")).to_have_count(0)
    assert not any("/api/v1/admin/jobs" in url for url in asked)
    fill_in(page, service.credentials["admin_user"], service.credentials["admin_password"])
    expect(page.get_by_label("Method")).to_have_value("solid")
    expect(page.locator("tbody tr").first).to_contain_text("Solid")
    assert page.url.endswith("/console/jobs?method=solid")


def test_a_wrong_password_is_said_plainly(console: Console, service: Service) -> None:
    page = console.open(expected={401})
    fill_in(page, service.credentials["admin_user"], "wrong")
    expect(page.get_by_text("User name or password is wrong.")).to_be_visible()
    page.get_by_role("button", name="Show the password").click()
    expect(page.locator("#password")).to_have_attribute("type", "text")
    fill_in(page, service.credentials["admin_user"], service.credentials["admin_password"])
    expect(page.get_by_role("heading", name="Dashboard")).to_be_visible()


def test_a_session_that_ended_leads_to_the_login_and_back(
    console: Console, service: Service, filled: Filled
) -> None:
    token = log_in(service.url, service.credentials["admin_user"], service.credentials["admin_password"])
    page = console.open("/images?page=2", session=token, expected={401})
    expect(page.get_by_text("25–30 of 30")).to_be_visible()
    cookies = {"face_api_session": token}
    assert httpx.post(f"{service.url}/api/v1/admin/auth/logout", cookies=cookies).status_code == 204
    page.locator(".pair").first.click()
    expect(page.get_by_text("Your session has ended.")).to_be_visible()
    expect(page.locator("img")).to_have_count(0)
    path = page.url
    fill_in(page, service.credentials["admin_user"], service.credentials["admin_password"])
    expect(page.get_by_role("heading", name="Jobs of this image")).to_be_visible()
    assert page.url == path
    page.go_back()
    expect(page.get_by_text("25–30 of 30")).to_be_visible()


def test_logging_out_ends_the_session(console: Console, service: Service) -> None:
    token = log_in(service.url, service.credentials["admin_user"], service.credentials["admin_password"])
    page = console.open(session=token, expected={401})
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    answer = httpx.get(f"{service.url}/api/v1/admin/auth/session", cookies={"face_api_session": token})
    assert answer.status_code == 401


def test_a_lockout_says_until_when(start_here: Started, database: str) -> None:
    pages = start_here(
        database_url=database, admin_password="right", rate_limit_login="off", trusted_proxies="127.0.0.1"
    )
    address = {"X-Forwarded-For": "192.0.2.10"}
    for _ in range(10):
        credentials = {"username": "admin", "password": "wrong"}
        answer = httpx.post(f"{pages.url}/api/v1/admin/auth/login", json=credentials, headers=address)
        assert answer.status_code == 401
    page = pages.open(expected={401, 429}, extra_http_headers=address)
    fill_in(page, "admin", "right")
    message = page.locator("#login-error")
    expect(message).to_contain_text(re.compile(r"locked out until \d{1,2}:\d\d"))


def test_the_rate_limit_says_how_long_to_wait(start_here: Started, database: str) -> None:
    pages = start_here(
        database_url=database,
        admin_password="right",
        rate_limit_login="2/minute",
        trusted_proxies="127.0.0.1",
    )
    page = pages.open(expected={401, 429}, extra_http_headers={"X-Forwarded-For": "192.0.2.7"})
    for _ in range(3):
        fill_in(page, "admin", "wrong")
        expect(page.get_by_role("button", name="Log in")).to_be_enabled()
    expect(page.locator("#login-error")).to_contain_text(re.compile(r"try again in \d+ seconds?"))
