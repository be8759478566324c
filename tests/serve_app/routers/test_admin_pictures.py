"""Stored pictures through the service, over a real PostgreSQL and objects of a fake store."""

import io
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from serve_app import errors
from serve_app.access import Access
from serve_app.database import Database
from serve_app.database_tier import DatabaseTier
from serve_app.ratelimit.client import RateLimiter
from serve_app.repositories.images import ImageRepository
from serve_app.repositories.jobs import JobRepository
from serve_app.routers.admin_pictures import admin_pictures_router
from serve_app.settings import Settings
from serve_app.storage.objects import StorageUnavailableError
from tests.serve_app.conftest import LocalLedger
from tests.serve_app.repositories.conftest import new_image, new_job

pytestmark = pytest.mark.postgres
PASSWORD = "correct horse"


def png(width: int, height: int, mode: str = "RGB") -> bytes:
    data = io.BytesIO()
    Image.new(mode, (width, height), "red" if mode == "RGB" else 0).save(data, "PNG")
    return data.getvalue()


class Objects:
    """Objects by key; `None` cannot be reached."""

    def __init__(self) -> None:
        self.data: dict[str, bytes | None] = {}

    async def get(self, key: str) -> bytes | None:
        if key in self.data and self.data[key] is None:
            raise StorageUnavailableError("the storage cannot be reached; try again shortly")
        return self.data.get(key)


class Parts:
    """The storage tier over one database."""

    def __init__(self, database: Database) -> None:
        self.images = ImageRepository(database)
        self.jobs = JobRepository(database)
        self.objects = Objects()


@pytest.fixture
async def parts(database_url: str) -> AsyncIterator[Parts]:
    database = Database(database_url, pool_size=2)
    await database.open()
    yield Parts(database)
    await database.close()


@pytest.fixture
async def http(database_url: str, parts: Parts) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(database_url=database_url, admin_password=PASSWORD, max_image_pixels=1_000_000)
    tier = DatabaseTier(database_url, settings)
    await tier.start()
    app, router = FastAPI(), admin_pictures_router(settings)
    app.state.access = Access(settings, RateLimiter(settings.rate_limits, LocalLedger(settings)), tier)
    app.state.storage = parts
    app.include_router(router)
    errors.install(app, router.routes)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    base_url = "http://test/api/v1/admin"
    async with httpx.AsyncClient(transport=transport, base_url=base_url, auth=("admin", PASSWORD)) as client:
        yield client
    await tier.stop()


def size_of(answer: httpx.Response) -> tuple[int, int]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(answer.content)) as picture:
        return picture.size


async def test_previews_fit_their_square_and_are_never_enlarged(
    http: httpx.AsyncClient, parts: Parts
) -> None:
    image = new_image()
    await parts.images.insert(image)
    job = new_job(image.id, "solid")
    await parts.jobs.insert(job)
    assert image.s3_key is not None
    assert job.processed_s3_key is not None
    parts.objects.data = {image.s3_key: png(640, 320), job.processed_s3_key: png(100, 200, "LA")}
    path = f"/images/{image.id}/preview"
    assert size_of(await http.get(path, params={"side": 64})) == (64, 32)
    assert size_of(await http.get(path, params={"side": 2048})) == (640, 320)
    assert size_of(await http.get(path, params={"side": 50, "of": "result"})) == (25, 50)
    assert size_of(await http.get(f"/jobs/{job.id}/preview", params={"side": 320})) == (100, 200)
    assert (await http.get(path, params={"side": 5000})).status_code == 422


async def test_pictures_are_kept_shortly_by_this_browser_alone_and_run_nothing(
    http: httpx.AsyncClient, parts: Parts
) -> None:
    image = new_image(filename='Grüße "1".jpg')
    await parts.images.insert(image)
    assert image.s3_key is not None
    parts.objects.data = {image.s3_key: png(8, 8)}
    for path in ("preview", "content"):
        answer = await http.get(f"/images/{image.id}/{path}")
        assert answer.headers["cache-control"] == "private, max-age=900"
        assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.content == png(8, 8)
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert "Gr%C3%BC%C3%9Fe" in answer.headers["content-disposition"]


async def test_what_was_not_kept_is_gone_or_cannot_be_reached_is_said(
    http: httpx.AsyncClient, parts: Parts
) -> None:
    image, bare = new_image(), new_image(s3_key=None)
    await parts.images.insert(image)
    await parts.images.insert(bare)
    detect = new_job(image.id)
    await parts.jobs.insert(detect)
    unknown = "00000000-0000-0000-0000-000000000000"
    for path in (
        f"images/{image.id}/preview",  # the object is gone
        f"images/{image.id}/preview?of=result",
        f"images/{bare.id}/content",
        f"jobs/{detect.id}/content",
        f"images/{unknown}/preview",
        f"jobs/{unknown}/content",
    ):
        answer = await http.get(f"/{path}")
        assert answer.status_code == 404, path
        assert set(answer.json()) == {"detail"}
    assert image.s3_key is not None
    parts.objects.data = {image.s3_key: None}
    assert (await http.get(f"/images/{image.id}/preview")).status_code == 503
    parts.objects.data = {image.s3_key: b"no picture"}
    assert (await http.get(f"/images/{image.id}/preview")).status_code == 415


async def test_pictures_are_for_the_administrator_alone(http: httpx.AsyncClient, parts: Parts) -> None:
    image = new_image()
    await parts.images.insert(image)
    http.auth = None
    for path in ("preview", "content"):
        assert (await http.get(f"/images/{image.id}/{path}")).status_code == 401
