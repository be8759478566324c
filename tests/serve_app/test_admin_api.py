"""The admin API and API keys over a real PostgreSQL, in this process."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import argon2
import asyncpg
import httpx
import pytest

from deployments.pipeline import LocalPipeline
from serve_app.app import create_app
from serve_app.settings import Settings
from tests.serve_app.conftest import LocalLedger, lifespan
from tests.serve_app.test_app import PICTURE, PNG

pytestmark = pytest.mark.postgres
PASSWORD = "correct horse"
AUTH = ("admin", PASSWORD)
KEYS = "/api/v1/admin/api-keys"
AUTH_PATH = "/api/v1/admin/auth"
ENVELOPE = {"detail"}


class Service:
    """Two replicas over one database and one ledger, as two ingress replicas are."""

    def __init__(self, url: str, pipeline: LocalPipeline, **settings: Any) -> None:
        merged = {"database_url": url, "admin_password": PASSWORD, **settings}
        self.settings = Settings(**merged)
        self.ledger = LocalLedger(self.settings)
        self.apps = [create_app(self.settings, pipeline, self.ledger) for _ in range(2)]

    def client(self, replica: int = 0, address: str = "203.0.113.1") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.apps[replica], raise_app_exceptions=False, client=(address, 1))
        return httpx.AsyncClient(transport=transport, base_url="http://test")


@asynccontextmanager
async def running(url: str, pipeline: LocalPipeline, **settings: Any) -> AsyncIterator[Service]:
    service = Service(url, pipeline, **settings)
    async with lifespan(service.apps[0]), lifespan(service.apps[1]):
        await asyncio.sleep(0.2)  # the listeners
        yield service


@pytest.fixture
async def service(database_url: str, pipeline: LocalPipeline) -> AsyncIterator[Service]:
    async with running(database_url, pipeline) as service:
        yield service


@pytest.fixture
async def http(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with service.client() as client:
        yield client


@pytest.fixture
def no_query_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def new_key(http: httpx.AsyncClient, name: str = "Production App") -> dict[str, Any]:
    answer = await http.post(KEYS, json={"name": name}, auth=AUTH)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def detect(http: httpx.AsyncClient, key: str) -> httpx.Response:
    return await http.post("/api/v1/detect", content=PICTURE, headers={**PNG, "X-API-Key": key})


async def test_a_key_is_shown_once_and_opens_the_door(http: httpx.AsyncClient, database_url: str) -> None:
    created = await new_key(http)
    key = created.pop("key")
    assert len(key) == 52
    assert created["key_prefix"] == key[:11]
    assert created["key_suffix"] == key[-8:]
    assert created["key_preview"] == f"{key[:11]}...{key[-8:]}"
    assert created["is_active"] is True
    assert created["request_count"] == 0
    assert created["last_used_at"] is None
    assert (await http.get(f"{KEYS}/{created['id']}", auth=AUTH)).json() == created
    assert (await detect(http, key)).status_code == 200
    connection = await asyncpg.connect(database_url)
    stored = str(await connection.fetch("SELECT * FROM api_keys"))
    await connection.close()
    assert key not in stored


async def test_requests_without_a_good_key_are_refused(http: httpx.AsyncClient) -> None:
    for path in ("/api/v1/detect", "/api/v1/mask"):
        missing = await http.post(path, content=PICTURE, headers=PNG)
        assert missing.status_code == 401
        assert "X-API-Key" in missing.json()["detail"]
        assert "www-authenticate" in missing.headers
    for key in (
        "",
        "xyl_",
        "x" * 2**20,
        "xyl_" + "0" * 48,
        "xyl_" + "A" * 48,
        "é" * 20,
        "'; DROP TABLE api_keys",
    ):
        headers = [(b"content-type", b"image/png"), (b"x-api-key", key.encode("latin-1"))]
        answer = await http.post("/api/v1/detect", content=PICTURE, headers=headers)
        assert answer.status_code == 401
        assert set(answer.json()) == ENVELOPE
        assert not key or key not in answer.text
    good = (await new_key(http))["key"]
    twice = [(b"content-type", b"image/png"), *[(b"x-api-key", good.encode())] * 2]
    assert (await http.post("/api/v1/detect", content=PICTURE, headers=twice)).status_code == 401


async def test_a_revoked_key_is_a_403_on_every_replica_and_can_be_restored(service: Service) -> None:
    async with service.client(0) as one, service.client(1) as other:
        created = await new_key(one)
        assert (await detect(other, created["key"])).status_code == 200
        path = f"{KEYS}/{created['id']}"
        assert (await one.patch(path, json={"is_active": False}, auth=AUTH)).json()["is_active"] is False
        await asyncio.sleep(0.5)
        for http in (one, other):
            assert (await detect(http, created["key"])).status_code == 403
        await one.patch(path, json={"is_active": True}, auth=AUTH)
        await asyncio.sleep(0.5)
        assert (await detect(other, created["key"])).status_code == 200
        assert (await one.delete(path, auth=AUTH)).status_code == 204
        await asyncio.sleep(0.5)
        assert (await detect(other, created["key"])).status_code == 401
        assert (await one.get(path, auth=AUTH)).status_code == 404


async def test_keys_are_renamed_and_listed_newest_first(http: httpx.AsyncClient) -> None:
    made = [await new_key(http, f"key {i}") for i in range(5)]
    renamed = await http.patch(f"{KEYS}/{made[0]['id']}", json={"name": "  renamed  "}, auth=AUTH)
    assert renamed.json()["name"] == "renamed"
    page = (await http.get(KEYS, params={"page": 2, "per_page": 2}, auth=AUTH)).json()
    assert [item["name"] for item in page["items"]] == ["key 2", "key 1"]
    assert {name: page[name] for name in ("total", "page", "per_page", "pages")} == {
        "total": 5,
        "page": 2,
        "per_page": 2,
        "pages": 3,
    }


async def test_uses_are_counted_exactly_over_replicas_and_a_clean_stop(
    database_url: str, pipeline: LocalPipeline
) -> None:
    async with running(database_url, pipeline, rate_limit_detect="off") as service:
        async with service.client(0) as one, service.client(1) as other:
            created = await new_key(one)
            answers = await asyncio.gather(*(detect((one, other)[i % 2], created["key"]) for i in range(200)))
            assert {answer.status_code for answer in answers} == {200}
    connection = await asyncpg.connect(database_url)
    row = await connection.fetchrow("SELECT request_count, last_used_at FROM api_keys")
    await connection.close()
    assert row["request_count"] == 200
    assert row["last_used_at"] is not None


async def test_a_session_is_valid_on_every_replica_and_ends_with_logout(service: Service) -> None:
    async with service.client(0) as one, service.client(1) as other:
        answer = await one.post(f"{AUTH_PATH}/login", json={"username": "admin", "password": PASSWORD})
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "Max-Age=43200" in cookie
        assert "Secure" not in cookie
        other.cookies = one.cookies
        expected = {"authenticated": True, "username": "admin"}
        assert (await other.get(f"{AUTH_PATH}/session")).json() == expected
        assert (await other.get(KEYS)).status_code == 200
        token = one.cookies["face_api_session"]
        cleared = await other.post(f"{AUTH_PATH}/logout")
        assert cleared.status_code == 204
        again = {"Cookie": f"face_api_session={token}"}
        assert (await one.get(f"{AUTH_PATH}/session", headers=again)).status_code == 401


async def test_a_session_ends_by_itself(database_url: str, pipeline: LocalPipeline) -> None:
    async with running(database_url, pipeline, admin_session_ttl_s=1) as service, service.client() as http:
        await http.post(f"{AUTH_PATH}/login", json={"username": "admin", "password": PASSWORD})
        token = {"Cookie": f"face_api_session={http.cookies['face_api_session']}"}
        assert (await http.get(KEYS, headers=token)).status_code == 200
        await asyncio.sleep(1.1)
        assert (await http.get(KEYS, headers=token)).status_code == 401


async def test_the_cookie_is_secure_behind_a_trusted_https_proxy(
    database_url: str, pipeline: LocalPipeline
) -> None:
    async with running(database_url, pipeline, trusted_proxies="203.0.113.1") as service:
        for address, is_secure in (("203.0.113.1", True), ("203.0.113.2", False)):
            async with service.client(address=address) as http:
                login = {"username": "admin", "password": PASSWORD}
                answer = await http.post(
                    f"{AUTH_PATH}/login", json=login, headers={"X-Forwarded-Proto": "https"}
                )
                assert ("Secure" in answer.headers["set-cookie"]) is is_secure


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://behind-a-proxy.example"}, 201),
        ({"Origin": "http://test"}, 201),
        ({}, 201),
    ],
)
async def test_another_sites_page_cannot_use_the_cookie(
    http: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    await http.post(f"{AUTH_PATH}/login", json={"username": "admin", "password": PASSWORD})
    assert (await http.post(KEYS, json={"name": "x"}, headers=headers)).status_code == status
    assert (await http.get(KEYS, headers=headers)).status_code == 200


async def test_ten_failures_in_a_row_block_the_address_for_form_and_basic_alike(service: Service) -> None:
    wrong = {"username": "admin", "password": "wrong"}
    async with (
        service.client(0) as one,
        service.client(1) as other,
        service.client(0, "198.51.100.7") as third,
    ):
        for _ in range(5):
            assert (await one.post(f"{AUTH_PATH}/login", json=wrong)).status_code == 401
            assert (await other.get(KEYS, auth=("admin", "wrong"))).status_code == 401
        for http in (one, other):
            form = await http.post(f"{AUTH_PATH}/login", json={**wrong, "password": PASSWORD})
            basic = await http.get(KEYS, auth=AUTH)
            for answer in (form, basic):
                assert answer.status_code == 429
                assert 880 <= int(answer.headers["retry-after"]) <= 900
                assert set(answer.json()) == ENVELOPE
        assert (await third.get(KEYS, auth=AUTH)).status_code == 200


async def test_a_success_resets_the_count(http: httpx.AsyncClient) -> None:
    for _ in range(3):
        for _ in range(9):
            assert (await http.get(KEYS, auth=("admin", "wrong"))).status_code == 401
        assert (await http.get(KEYS, auth=AUTH)).status_code == 200


async def test_guesses_all_at_once_get_no_more_tries_than_one_by_one(service: Service) -> None:
    async with service.client(0) as one, service.client(1) as other:
        tries = [(one, other)[i % 2].get(KEYS, auth=("admin", f"guess {i}")) for i in range(60)]
        statuses = [answer.status_code for answer in await asyncio.gather(*tries)]
        assert statuses.count(401) == 10
        assert statuses.count(429) == 50


async def test_a_script_with_many_parallel_good_calls_is_not_locked_out(http: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(http.get(KEYS, auth=AUTH) for _ in range(40)))
    assert {answer.status_code for answer in answers} == {200}


async def test_an_argon2_hash_serves_as_the_password(database_url: str, pipeline: LocalPipeline) -> None:
    hashed = argon2.PasswordHasher(time_cost=1, memory_cost=64).hash("geheim")
    async with running(database_url, pipeline, admin_password=hashed) as service, service.client() as http:
        assert (await http.get(KEYS, auth=("admin", "geheim"))).status_code == 200
        assert (await http.get(KEYS, auth=("admin", hashed))).status_code == 401


async def test_the_login_form_has_a_rate_limit(database_url: str, pipeline: LocalPipeline) -> None:
    async with running(database_url, pipeline, rate_limit_login="3/minute") as service:
        async with service.client() as http:
            login = {"username": "admin", "password": PASSWORD}
            answers = [await http.post(f"{AUTH_PATH}/login", json=login) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [204, 204, 204, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert answers[0].headers["ratelimit-limit"] == "3"
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]


async def test_a_limit_lets_exactly_its_number_through_two_replicas(
    database_url: str, pipeline: LocalPipeline
) -> None:
    async with running(database_url, pipeline, rate_limit_detect="60/minute") as service:
        async with service.client(0) as one, service.client(1) as other:
            key = (await new_key(one))["key"]
            mine = await asyncio.gather(*(detect((one, other)[i % 2], key) for i in range(100)))
            assert sum(answer.status_code == 200 for answer in mine) == pytest.approx(60, abs=1)
            refused = next(answer for answer in mine if answer.status_code == 429)
            assert set(refused.json()) == ENVELOPE
            assert "60/minute" in refused.json()["detail"]
            assert refused.headers["ratelimit-limit"] == "60"
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            neighbour = (await new_key(one))["key"]  # the same address, another key: not limited by the first
            assert (await detect(one, neighbour)).status_code == 200


async def test_a_forged_forwarded_for_neither_escapes_a_limit_nor_blocks_a_neighbour(
    database_url: str, pipeline: LocalPipeline
) -> None:
    settings = {"api_key_enabled": False, "rate_limit_detect": "5/minute", "trusted_proxies": "10.0.0.0/8"}
    async with running(database_url, pipeline, **settings) as service:

        async def ask(address: str, forwarded: str) -> int:
            async with service.client(address=address) as http:
                headers = {**PNG, "X-Forwarded-For": forwarded}
                return (await http.post("/api/v1/detect", content=PICTURE, headers=headers)).status_code

        direct = [await ask("203.0.113.9", f"198.51.100.{i}") for i in range(8)]
        assert direct == [200] * 5 + [429] * 3
        assert await ask("10.0.0.1", "198.51.100.3") == 200  # the forged neighbour is untouched
        proxied = [await ask("10.0.0.1", f"192.0.2.{i}, 203.0.113.50") for i in range(8)]
        assert proxied == [200] * 5 + [429] * 3


BAD_BODIES: list[tuple[bytes, str, int]] = [
    (b"", "application/json", 422),
    (b"{", "application/json", 422),
    (b"[]", "application/json", 422),
    (b'"name"', "application/json", 422),
    (b"{}", "application/json", 422),
    (b'{"name": 5}', "application/json", 422),
    (b'{"name": null}', "application/json", 422),
    (b'{"name": ""}', "application/json", 422),
    (b'{"name": "   "}', "application/json", 422),
    (json.dumps({"name": "x" * 10_000}).encode(), "application/json", 422),
    (b'{"name": "a\\u0000b"}', "application/json", 422),
    (b'{"name": "a\\nb"}', "application/json", 422),
    (b'{"name": "\\ud800"}', "application/json", 422),
    (b'{"name": "\xff"}', "application/json", 422),
    (b'{"name": "x", "is_admin": true}', "application/json", 422),
    (b'{"name": ' + b"[" * 50_000, "application/json", 422),
    (b'{"name": "' + b"x" * 70_000 + b'"}', "application/json", 413),
    (b'{"name": "x"}', "text/plain", 415),
    (b"name=x", "application/x-www-form-urlencoded", 415),
]


@pytest.mark.usefixtures("no_query_errors")
async def test_every_bad_body_wears_the_envelope(http: httpx.AsyncClient) -> None:
    for body, content_type, status in BAD_BODIES:
        answer = await http.post(KEYS, content=body, headers={"Content-Type": content_type}, auth=AUTH)
        assert (answer.status_code, set(answer.json())) == (status, ENVELOPE), body[:60]
    key_id = (await new_key(http))["id"]
    for body in (b"{}", b'{"is_active": "yes"}', b'{"is_active": 1}', b'{"active": false}', b'{"name": ""}'):
        headers = {"Content-Type": "application/json"}
        answer = await http.patch(f"{KEYS}/{key_id}", content=body, headers=headers, auth=AUTH)
        assert (answer.status_code, set(answer.json())) == (422, ENVELOPE), body
    for body in (b"{}", b'{"username": 1, "password": 2}', b'{"username": "a"}', b"null"):
        headers = {"Content-Type": "application/json"}
        answer = await http.post(f"{AUTH_PATH}/login", content=body, headers=headers)
        assert (answer.status_code, set(answer.json())) == (422, ENVELOPE), body


@pytest.mark.usefixtures("no_query_errors")
async def test_ids_and_pages_that_are_none_wear_the_envelope(http: httpx.AsyncClient) -> None:
    for path, status in (
        ("not-a-uuid", 422),
        ("'%20OR%201=1", 422),
        ("%00", 422),
        (str(uuid4()), 404),
        ("..%2f..", 404),
    ):
        answer = await http.get(f"{KEYS}/{path}", auth=AUTH)
        assert answer.status_code in {status, 404}, path
        assert set(answer.json()) == ENVELOPE
    for query, status in (
        ("page=0", 422),
        ("page=-1", 422),
        ("page=two", 422),
        ("page=1e3", 422),
        ("page=99999999999999999999", 422),
        ("page=2147483647", 404),
        ("page=2", 404),
        ("per_page=0", 422),
        ("per_page=101", 422),
    ):
        answer = await http.get(f"{KEYS}?{query}", auth=AUTH)
        assert (answer.status_code, set(answer.json())) == (status, ENVELOPE), query
    empty = (await http.get(KEYS, auth=AUTH)).json()
    assert empty == {"items": [], "total": 0, "page": 1, "per_page": 20, "pages": 1}


@pytest.mark.usefixtures("no_query_errors")
async def test_headers_that_are_no_credentials_are_a_401(http: httpx.AsyncClient) -> None:
    for value in (
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        "Basic " + base64.b64encode(b"admin:a\0b").decode(),
        "Basic " + base64.b64encode(b"admin:" + b"x" * 2000).decode(),
        "Bearer abc",
        "basic",
    ):
        answer = await http.get(KEYS, headers={"Authorization": value})
        assert (answer.status_code, set(answer.json())) == (401, ENVELOPE), value[:40]
    for cookie in (
        "face_api_session=a; face_api_session=b",
        "face_api_session=",
        "face_api_session=\x01",
        "face_api_session=" + "x" * 10_000,
        ";;;=;",
    ):
        answer = await http.get(KEYS, headers={"Cookie": cookie})
        assert (answer.status_code, set(answer.json())) == (401, ENVELOPE), cookie[:40]


async def test_the_mask_test_answers_with_faces_and_picture(http: httpx.AsyncClient) -> None:
    query = {"method": "solid", "format": "png", "strength": 50, "padding": 0.1}
    path = "/api/v1/admin/test/mask"
    assert (await http.post(path, files={"image": PICTURE}, params=query)).status_code == 401
    answer = (await http.post(path, files={"image": PICTURE}, params=query, auth=AUTH)).json()
    assert answer["summary"]["face_count"] == 2
    assert answer["masking"] == {
        "method": "solid",
        "strength": 50,
        "padding": 0.1,
        "regions_masked": 2,
        "shape": "rect",
        "fill": "solid",
        "strength_raised": 0,
        "faces_skipped": 0,
        "residual_faces": None,
    }
    picture = base64.b64decode(answer["output"].pop("image_base64"))
    assert picture[:4] == b"\x89PNG"
    assert answer["output"] == {"format": "png", "quality": 95, "lossless": False, "size_bytes": len(picture)}
    profile = answer["profiling"]
    assert profile["output_bytes"] == len(picture)
    assert profile["mask_ms"] + profile["encode_ms"] <= profile["total_ms"]


async def test_health_tells_of_the_database(http: httpx.AsyncClient) -> None:
    health = (await http.get("/health")).json()
    assert (health["status"], health["database_enabled"], health["database_ready"]) == ("ok", True, True)


async def test_an_answer_of_the_server_never_holds_a_password_or_a_key(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "face_api")
    key = (await new_key(http))["key"]
    await detect(http, key)
    await http.get(KEYS, auth=("admin", "my other password"))
    listing = (await http.get(KEYS, auth=AUTH)).text
    for secret in (key, PASSWORD, "my other password"):
        assert secret not in listing
        assert secret not in caplog.text


async def test_without_a_database_admin_routes_are_501_and_pictures_are_served(
    pipeline: LocalPipeline,
) -> None:
    app = create_app(Settings(api_key_enabled=False), pipeline, LocalLedger())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        for method, path in (
            ("GET", KEYS),
            ("POST", KEYS),
            ("GET", f"{AUTH_PATH}/session"),
            ("POST", f"{AUTH_PATH}/logout"),
            ("POST", "/api/v1/admin/test/mask"),
        ):
            answer = await http.request(method, path, auth=AUTH)
            assert (answer.status_code, set(answer.json())) == (501, ENVELOPE), path
        login = await http.post(f"{AUTH_PATH}/login", json={"username": "a", "password": "b"})
        assert login.status_code == 501
        assert (await http.post("/api/v1/detect", content=PICTURE, headers=PNG)).status_code == 200


async def test_without_a_password_there_is_no_administrator(
    database_url: str, pipeline: LocalPipeline
) -> None:
    async with running(database_url, pipeline, admin_password=None) as service, service.client() as http:
        answer = await http.get(KEYS, auth=AUTH)
        assert answer.status_code == 501
        assert "FACE_API_ADMIN_PASSWORD" in answer.json()["detail"]


async def test_usage_is_the_sum_over_all_keys(http: httpx.AsyncClient) -> None:
    path = "/api/v1/admin/usage"
    assert (await http.get(path, auth=AUTH)).json() == {
        "keys": 0,
        "active_keys": 0,
        "requests": 0,
        "last_used_at": None,
    }
    made = [(await http.post(KEYS, json={"name": name}, auth=AUTH)).json() for name in "ab"]
    await http.patch(f"{KEYS}/{made[1]['id']}", json={"is_active": False}, auth=AUTH)
    usage = (await http.get(path, auth=AUTH)).json()
    assert (usage["keys"], usage["active_keys"]) == (2, 1)
    assert (await http.get(path)).status_code == 401


async def test_detecting_can_be_tried_without_a_key(http: httpx.AsyncClient) -> None:
    path = "/api/v1/admin/test/detect"
    answer = await http.post(path, content=PICTURE, headers=PNG, params={"confidence": 0.01}, auth=AUTH)
    assert answer.status_code == 200
    body = answer.json()
    assert body["summary"]["face_count"] == len(body["detections"]) > 0
    assert body["image_id"] is None
    assert (await http.post(path, content=PICTURE, headers=PNG)).status_code == 401
