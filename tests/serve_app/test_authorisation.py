"""Who gets in where: every route of the OpenAPI document with every kind of credential."""

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import httpx
import pytest

from deployments.pipeline import LocalPipeline
from tests.serve_app.test_admin_api import AUTH, AUTH_PATH, KEYS, Service, new_key, running

pytestmark = pytest.mark.postgres

OPEN: Final = {
    ("GET", "/health"),
    ("GET", "/livez"),
    ("GET", "/api/v1/receipts/key"),
    ("GET", "/readyz"),
    ("POST", f"{AUTH_PATH}/login"),
    ("POST", f"{AUTH_PATH}/logout"),
}
WITH_KEY: Final = {("POST", f"/api/v1/{call}") for call in ("detect", "mask", "batch")}
REFUSALS: Final = {401, 403}


@dataclass
class Caller:
    """Somebody with some kind of credential."""

    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    auth: tuple[str, str] | None = None
    is_admin: bool = False
    has_key: bool = False
    safe_methods_only: bool = False  # what a page of another site may make a browser do


@pytest.fixture
async def service(database_url: str, pipeline: LocalPipeline) -> AsyncIterator[Service]:
    limits = {"rate_limit_detect": "off", "rate_limit_mask": "off", "rate_limit_login": "off"}
    async with running(database_url, pipeline, **limits) as service:
        yield service


@pytest.fixture
async def http(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with service.client() as client:
        yield client


async def log_in(http: httpx.AsyncClient) -> dict[str, str]:
    answer = await http.post(f"{AUTH_PATH}/login", json={"username": AUTH[0], "password": AUTH[1]})
    assert answer.status_code == 204
    cookies = dict(answer.cookies)
    http.cookies = httpx.Cookies()
    return cookies


async def make_callers(http: httpx.AsyncClient, database_url: str) -> dict[str, Caller]:
    good, revoked, deleted = [await new_key(http) for _ in range(3)]
    await http.delete(f"{KEYS}/{deleted['id']}", auth=AUTH)
    await http.patch(f"{KEYS}/{revoked['id']}", json={"is_active": False}, auth=AUTH)
    expired = await log_in(http)
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE admin_sessions SET expires_at = now() - interval '1 second'")
    await connection.close()
    session = await log_in(http)
    ended = await log_in(http)
    http.cookies = httpx.Cookies(ended)
    await http.post(f"{AUTH_PATH}/logout")
    http.cookies = httpx.Cookies()
    tokens = [*session.values(), *expired.values()]
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    return {
        "nobody": Caller(),
        "a key that never was": Caller(headers={"X-API-Key": "xyl_" + "0" * 48}),
        "a revoked key": Caller(headers={"X-API-Key": revoked["key"]}),
        "a deleted key": Caller(headers={"X-API-Key": deleted["key"]}),
        "a key in another's clothes": Caller(headers={"Authorization": f"Bearer {good['key']}"}),
        "a key": Caller(headers={"X-API-Key": good["key"]}, has_key=True),
        "a key as a password": Caller(auth=("admin", good["key"])),
        "a session": Caller(cookies=session, is_admin=True),
        "a session that expired": Caller(cookies=expired),
        "a session that was ended": Caller(cookies=ended),
        "a session made up": Caller(cookies={name: "A" * len(value) for name, value in session.items()}),
        "a session from another site": Caller(
            cookies=session, headers=foreign, is_admin=True, safe_methods_only=True
        ),
        "a session from another site, in an old browser": Caller(
            cookies=session, headers={"Origin": "https://[::1"}, is_admin=True, safe_methods_only=True
        ),
        "two sessions": Caller(headers={"Cookie": "; ".join(f"face_api_session={t}" for t in tokens)}),
        "the password": Caller(auth=AUTH, is_admin=True),
        "the password from another site": Caller(
            auth=AUTH, headers=foreign, is_admin=True, safe_methods_only=True
        ),
        "another password": Caller(auth=("admin", "wrong")),
        "another user": Caller(auth=("root", AUTH[1])),
        "a session in the header of keys": Caller(headers={"X-API-Key": next(iter(session.values()))}),
    }


def routes_of(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for path, operations in document["paths"].items():
        for method in operations:
            yield method.upper(), path


def is_let_in(route: tuple[str, str], caller: Caller) -> bool:
    """Whether this caller may use this route: the whole rule."""
    method, path = route
    if route in OPEN:
        return not caller.safe_methods_only or method == "GET" or path.endswith(("/login", "/logout"))
    if route in WITH_KEY:
        return caller.has_key
    assert path.startswith("/api/v1/admin/"), f"{method} {path} is of no known kind: who may use it?"
    return caller.is_admin and (not caller.safe_methods_only or method == "GET")


async def test_every_route_lets_in_whom_it_should_and_nobody_else(
    service: Service, http: httpx.AsyncClient, database_url: str
) -> None:
    callers = await make_callers(http, database_url)
    routes = list(routes_of((await http.get("/openapi.json")).json()))
    assert set(routes) >= OPEN | WITH_KEY
    wrong: list[str] = []
    for number, (name, caller) in enumerate(callers.items()):
        async with service.client(address=f"203.0.113.{number + 10}") as client:
            for attempt, (method, path) in enumerate(routes):
                if (method, path) in OPEN and path.startswith(AUTH_PATH):
                    continue  # they make and end sessions; tests of their own look at them
                address = path.replace("{image_id}", str(uuid.uuid4())).replace("{job_id}", str(uuid.uuid4()))
                address = address.replace("{key_id}", str(uuid.uuid4()))
                assert "{" not in address
                client.cookies = httpx.Cookies(caller.cookies)
                if attempt % 5 == 4:  # wrong passwords in a row lock an address out: that is not asked here
                    await client.post(f"{AUTH_PATH}/login", json={"username": AUTH[0], "password": AUTH[1]})
                    client.cookies = httpx.Cookies(caller.cookies)
                answer = await client.request(
                    method, address, headers=caller.headers, auth=caller.auth or httpx.USE_CLIENT_DEFAULT
                )
                let_in = answer.status_code not in REFUSALS
                if let_in != is_let_in((method, path), caller):
                    wrong.append(f"{method} {path} for {name}: {answer.status_code} {answer.text[:80]}")
                if not let_in:
                    assert set(answer.json()) == {"detail"}
    assert not wrong, "\n".join(wrong)
