"""Ways in that are none: planted sessions, telling names from timings, paths and names that break out."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import argon2
import httpx
import pytest

from deployments.pipeline import LocalPipeline
from serve_app.access import COOKIE
from serve_app.app import create_app
from serve_app.settings import Settings
from tests.serve_app.conftest import LocalLedger
from tests.serve_app.test_admin_api import AUTH, AUTH_PATH, KEYS, PASSWORD, Service, new_key, running

LOGIN = {"username": AUTH[0], "password": PASSWORD}
SESSION = f"{AUTH_PATH}/session"


@pytest.fixture
async def service(database_url: str, pipeline: LocalPipeline) -> AsyncIterator[Service]:
    async with running(database_url, pipeline) as service:
        yield service


def cookie(token: str) -> dict[str, str]:
    return {"Cookie": f"{COOKIE}={token}"}


@pytest.mark.postgres
async def test_a_planted_session_is_nobodys_before_and_after_the_login(service: Service) -> None:
    planted = "A" * 43
    async with service.client() as http:
        answer = await http.post(f"{AUTH_PATH}/login", json=LOGIN, headers=cookie(planted))
        mine = answer.cookies[COOKIE]
        assert mine != planted
        http.cookies = httpx.Cookies()
        assert (await http.get(SESSION, headers=cookie(planted))).status_code == 401
        assert (await http.get(SESSION, headers=cookie(mine))).status_code == 200


@pytest.mark.postgres
async def test_each_login_has_a_session_of_its_own(service: Service) -> None:
    async with service.client() as http:
        tokens = []
        for _ in range(2):
            tokens.append((await http.post(f"{AUTH_PATH}/login", json=LOGIN)).cookies[COOKIE])
            http.cookies = httpx.Cookies()
        assert len(set(tokens)) == 2
        await http.post(f"{AUTH_PATH}/logout", headers=cookie(tokens[0]))
        assert (await http.get(SESSION, headers=cookie(tokens[0]))).status_code == 401
        assert (await http.get(SESSION, headers=cookie(tokens[1]))).status_code == 200


@pytest.mark.postgres
async def test_a_wrong_name_costs_the_same_work_as_a_wrong_password(
    database_url: str, pipeline: LocalPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    verify = argon2.PasswordHasher.verify

    def counted(hasher: argon2.PasswordHasher, hashed: str, password: str) -> bool:
        checked.append(password)
        return verify(hasher, hashed, password)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", counted)
    hashed = argon2.PasswordHasher().hash(PASSWORD)
    async with running(database_url, pipeline, admin_password=hashed) as service, service.client() as http:
        bodies = set()
        for username, password in (("admin", "wrong"), ("nobody", "wrong"), ("nobody", PASSWORD)):
            answer = await http.get(KEYS, auth=(username, password))
            assert answer.status_code == 401
            bodies.add(answer.text)
        assert checked == ["wrong", "wrong", PASSWORD]
        assert len(bodies) == 1


@pytest.mark.postgres
@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "=cmd|' /C calc'!A0", '"; x="', "{{7*7}}"])
async def test_the_name_of_a_key_stays_text(service: Service, name: str) -> None:
    async with service.client() as http:
        assert (await new_key(http, name))["name"] == name
        listed = await http.get(KEYS, auth=AUTH)
        assert listed.json()["items"][0]["name"] == name
        assert listed.headers["content-type"] == "application/json"
        assert listed.headers["x-content-type-options"] == "nosniff"


@pytest.mark.postgres
@pytest.mark.parametrize("name", ["a\r\nSet-Cookie: x=y", "a\0b", "a\u0085b"])
async def test_the_name_of_a_key_is_one_line(service: Service, name: str) -> None:
    async with service.client() as http:
        assert (await http.post(KEYS, json={"name": name}, auth=AUTH)).status_code == 422


UP = ("..", "%2e%2e", "..%2f..", "%2e%2e%5c", "..%00", "%252e%252e")


@pytest.mark.parametrize("up", UP)
@pytest.mark.parametrize("root", ["/console", "/console/assets", "/docs/assets", "/api/v1/admin/images"])
async def test_no_path_leads_out_of_its_folder(pipeline: LocalPipeline, root: str, up: str) -> None:
    app = create_app(Settings(api_key_enabled=False), pipeline, LocalLedger())
    for target in ("pyproject.toml", "serve_app/settings.py", "etc/passwd"):
        status, body = await raw_get(app, f"{root}/{'/'.join([up] * 8)}/{target}")
        assert status < 500
        assert b"[project]" not in body
        assert b"BaseSettings" not in body
        assert b"root:" not in body


async def raw_get(app: Any, path: str) -> tuple[int, bytes]:
    """Without a client that would tidy the path up; decoded as uvicorn does it."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    decoded = unquote(path)
    scope = {
        "type": "http",
        "method": "GET",
        "path": decoded,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "client": ("203.0.113.1", 1),
    }
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], body
