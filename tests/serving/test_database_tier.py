"""API keys, sessions and limits with two ingress replicas and a real PostgreSQL that comes and goes."""

import asyncio
import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import numpy as np
import pytest
from PIL import Image

from serve_app.embedded.postgres import EmbeddedPostgres
from tests.serving.conftest import PROJECT, Service, free_port, start, stop
from tests.tiny_scrfd import write_tiny_scrfd

pytestmark = [pytest.mark.ray, pytest.mark.postgres, pytest.mark.timeout(300)]
PASSWORD = "geheim und lang"
AUTH = ("admin", PASSWORD)
KEYS = "/api/v1/admin/api-keys"


def small_picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 120, np.uint8)).save(file, "PNG")
    return file.getvalue()


PICTURE = small_picture()


@dataclass
class Tier:
    service: Service
    postgres: EmbeddedPostgres

    def client(self, **headers: str) -> httpx.Client:
        """A client whose every request is a new connection, so that it meets both replicas."""
        limits = httpx.Limits(max_keepalive_connections=0)
        return httpx.Client(
            base_url=self.service.url,
            timeout=30,
            limits=limits,
            headers=headers,
            verify=False,  # noqa: S501 - plain HTTP; certificates would be read for each client
        )

    def new_key(self) -> dict[str, Any]:
        with self.client() as http:
            answer = http.post(KEYS, json={"name": "test"}, auth=AUTH)
            assert answer.status_code == 201, answer.text
            created: dict[str, Any] = answer.json()
            return created

    def detect(self, key: str) -> httpx.Response:
        with self.client(**{"X-API-Key": key, "Content-Type": "image/png"}) as http:
            return http.post("/api/v1/detect", content=PICTURE)


def two_ingress_replicas(folder: Path) -> Path:
    text = (PROJECT / "configs" / "local.yaml").read_text()
    first = "      - name: Ingress\n        num_replicas: 1\n"
    assert first in text
    path = folder / "two.yaml"
    path.write_text(text.replace(first, first.replace("1\n", "2\n")))
    return path


@pytest.fixture(scope="module")
def tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tier]:
    folder = tmp_path_factory.mktemp("tier")
    postgres = EmbeddedPostgres(folder / "postgres")
    url = postgres.start()
    service = start(
        folder,
        two_ingress_replicas(folder),
        FACE_API_MODEL=str(write_tiny_scrfd(folder / "tiny.onnx")),
        FACE_API_DATABASE_URL=url,
        FACE_API_ADMIN_PASSWORD=PASSWORD,
        FACE_API_RATE_LIMIT_DETECT="300/minute",
    )
    yield Tier(service, postgres)
    stop(service)
    postgres.stop()


def test_two_replicas_let_exactly_the_limit_through(tier: Tier) -> None:
    key = tier.new_key()["key"]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: tier.detect(key), range(400)))
    passed = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(passed) + len(refused) == 400
    assert 297 <= len(passed) <= 303
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert {answer.headers["ratelimit-limit"] for answer in answers} == {"300"}


def test_a_revoked_key_stops_on_both_replicas_within_five_seconds(tier: Tier) -> None:
    created = tier.new_key()
    assert {tier.detect(created["key"]).status_code for _ in range(20)} == {200}
    with tier.client() as http:
        http.patch(f"{KEYS}/{created['id']}", json={"is_active": False}, auth=AUTH)
    time.sleep(5)
    assert {tier.detect(created["key"]).status_code for _ in range(20)} == {403}


def test_a_session_works_on_both_replicas(tier: Tier) -> None:
    with tier.client() as http:
        login = {"username": "admin", "password": PASSWORD}
        assert http.post("/api/v1/admin/auth/login", json=login).status_code == 204
        assert {http.get(KEYS).status_code for _ in range(20)} == {200}
        assert http.post("/api/v1/admin/auth/logout").status_code == 204


@dataclass
class Load:
    """Clients that go on asking with one key until told to stop."""

    tier: Tier
    key: str
    statuses: list[int] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stopped.is_set():
            self.statuses.append(self.tier.detect(self.key).status_code)
            time.sleep(0.1)


def test_a_database_that_stops_under_load_costs_no_known_key_an_answer(tier: Tier) -> None:
    known = tier.new_key()["key"]
    for _ in range(20):
        tier.detect(known)
    load = Load(tier, known)
    worker = threading.Thread(target=load.run)
    worker.start()
    try:
        tier.postgres.stop()
        time.sleep(2.5)
        unknown = tier.detect("xyl_" + "0" * 48)
        assert unknown.status_code == 503
        assert int(unknown.headers["retry-after"]) >= 1
        with tier.client() as http:
            assert http.get(KEYS, auth=AUTH).status_code == 503
            health = http.get("/health")
            assert health.status_code == 503
            assert health.json()["database_ready"] is False
            assert http.get("/livez").status_code == http.get("/readyz").status_code == 200
        tier.postgres.start()
        returned = time.monotonic()
        while True:
            created = [tier.detect("xyl_" + f"{i:048x}").status_code for i in range(6)]
            with tier.client() as http:
                well = [http.get("/health").status_code for _ in range(6)]
            if set(created) == {401} and set(well) == {200}:
                break
            assert time.monotonic() - returned < 10, (created, well)
            time.sleep(0.2)
    finally:
        load.stopped.set()
        worker.join()
    assert len(load.statuses) > 5
    assert set(load.statuses) == {200}
    log = tier.service.log.read_text()
    assert "database unreachable" in log
    assert "database reachable again" in log


def test_uses_add_up_after_a_thousand_requests_and_a_clean_stop(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "postgres")
    url = postgres.start()
    try:
        service = start(
            tmp_path,
            two_ingress_replicas(tmp_path),
            FACE_API_MODEL=str(write_tiny_scrfd(tmp_path / "tiny.onnx")),
            FACE_API_DATABASE_URL=url,
            FACE_API_ADMIN_PASSWORD=PASSWORD,
        )
        tier = Tier(service, postgres)
        created = tier.new_key()
        with ThreadPoolExecutor(32) as pool:
            statuses = set(pool.map(lambda _: tier.detect(created["key"]).status_code, range(1000)))
        assert statuses == {200}
        assert stop(service) < 10

        async def count() -> int:
            connection = await asyncpg.connect(url)
            counted = await connection.fetchval("SELECT request_count FROM api_keys")
            await connection.close()
            return int(counted)

        assert asyncio.run(count()) == 1000
    finally:
        postgres.stop()


def test_kill_9_of_everything_needs_no_repair(tmp_path: Path) -> None:
    model, port = str(write_tiny_scrfd(tmp_path / "tiny.onnx")), str(free_port())
    service = start(tmp_path, FACE_API_MODEL=model, PORT=port)
    before = service.credentials
    assert (service.data_dir / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert before["url"] == service.url
    os.kill(service.process.pid, signal.SIGKILL)
    service.process.wait()
    again = start(tmp_path, FACE_API_MODEL=model, PORT=port)
    try:
        assert again.credentials == before
        headers = {"X-API-Key": before["api_key"], "Content-Type": "image/png"}
        with httpx.Client(base_url=again.url, timeout=30) as http:
            assert http.post("/api/v1/detect", content=PICTURE, headers=headers).status_code == 200
            assert http.get(KEYS, auth=(before["admin_user"], before["admin_password"])).status_code == 200
            assert http.post("/api/v1/detect", content=PICTURE).status_code == 401
    finally:
        stop(again)
