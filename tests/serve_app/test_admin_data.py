"""The admin data endpoints over a real PostgreSQL, with links and objects of a fake store."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from serve_app import errors
from serve_app.access import Access
from serve_app.database import Database, DatabaseUnavailableError
from serve_app.database_tier import DatabaseTier
from serve_app.ratelimit.client import RateLimiter
from serve_app.repositories.cleanup import CleanupRepository
from serve_app.repositories.images import ImageRepository
from serve_app.repositories.jobs import JobRepository
from serve_app.repositories.statistics import StatisticsRepository
from serve_app.routers import admin_data
from serve_app.services.deletion import delete_image
from serve_app.settings import Settings
from tests.serve_app.conftest import LocalLedger
from tests.serve_app.repositories.conftest import FACE, new_image, new_job

pytestmark = pytest.mark.postgres
PASSWORD = "correct horse"
ADMIN = "/api/v1/admin"


class Objects:
    """Links that say what they were made of; a store in which some keys cannot be removed."""

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.stuck: set[str] = set()

    async def signed_url(
        self,
        key: str,
        *,
        filename: str | None = None,
        content_type: str | None = None,
        is_public: bool = False,
    ) -> str:
        host = "public.test" if is_public else "private.test"
        return f"https://{host}/{key}" + (f"?as={filename}" if filename else "")

    async def delete(self, keys: list[str]) -> list[str]:
        self.removed += [key for key in keys if key not in self.stuck]
        return [key for key in keys if key in self.stuck]


class Parts:
    """The storage tier over one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.images = ImageRepository(database)
        self.jobs = JobRepository(database)
        self.statistics = StatisticsRepository(database)
        self.cleanup = CleanupRepository(database)
        self.objects = Objects()

    async def delete_image(self, image_id: UUID) -> bool:
        return await delete_image(image_id, self.database, self.images, self.cleanup, self.objects)


@pytest.fixture
async def storage(database_url: str) -> AsyncIterator[Parts]:
    database = Database(database_url, pool_size=5)
    await database.open()
    yield Parts(database)
    await database.close()


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[FastAPI]:
    settings = Settings(database_url=database_url, admin_password=PASSWORD)
    tier = DatabaseTier(database_url, settings)
    await tier.start()
    app = FastAPI()
    app.state.access = Access(settings, RateLimiter(settings.rate_limits, LocalLedger(settings)), tier)
    app.include_router(admin_data.router)
    errors.install(app, admin_data.router.routes)
    yield app
    await tier.stop()


@pytest.fixture
async def http(app: FastAPI, storage: Parts) -> AsyncIterator[httpx.AsyncClient]:
    app.state.storage = storage
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test" + ADMIN, auth=("admin", PASSWORD)
    ) as client:
        yield client


async def tasks(database_url: str) -> list[tuple[str, int]]:
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("SELECT s3_key, attempts FROM storage_cleanup_tasks ORDER BY s3_key")
    await connection.close()
    return [tuple(row) for row in rows]


async def test_totals_name_both_types_and_all_methods(http: httpx.AsyncClient, storage: Parts) -> None:
    empty = (await http.get("/stats")).json()
    assert empty == {
        "total_images": 0,
        "total_jobs": 0,
        "total_faces_detected": 0,
        "avg_inference_ms": 0.0,
        "storage_used_bytes": 0,
        "storage_by_kind": {"originals": 0, "results": 0},
        "jobs_by_type": {"detect": 0, "mask": 0},
        "jobs_by_method": {"gaussian": 0, "pixelate": 0, "solid": 0, "elliptical": 0},
    }
    image = new_image()
    await storage.images.insert(image)
    await storage.jobs.insert(new_job(image.id, inference_ms=10.0, face_count=3))
    await storage.jobs.insert(new_job(image.id, "elliptical", inference_ms=20.011))
    assert (await http.get("/stats")).json() == {
        "total_images": 1,
        "total_jobs": 2,
        "total_faces_detected": 4,
        "avg_inference_ms": 15.01,
        "storage_used_bytes": 1300,
        "storage_by_kind": {"originals": 1000, "results": 300},
        "jobs_by_type": {"detect": 1, "mask": 1},
        "jobs_by_method": {"gaussian": 0, "pixelate": 0, "solid": 0, "elliptical": 1},
    }


async def test_an_image_is_shown_with_its_links_and_its_jobs(http: httpx.AsyncClient, storage: Parts) -> None:
    image = new_image()
    await storage.images.insert(image)
    detect, mask = new_job(image.id), new_job(image.id, "solid")
    await storage.jobs.insert(detect)
    await storage.jobs.insert(mask)
    detail = (await http.get(f"/images/{image.id}")).json()
    jobs = detail.pop("jobs")
    assert detail.pop("created_at").endswith("Z")
    assert detail == {
        "id": str(image.id),
        "filename": "party.jpg",
        "content_type": "image/jpeg",
        "size_bytes": 1000,
        "width": 320,
        "height": 240,
        "original_url": f"https://private.test/originals/{image.id}/party.jpg",
        "processed_url": f"https://public.test/{mask.processed_s3_key}",
        "job_count": 2,
    }
    assert [job["id"] for job in jobs] == [str(mask.id), str(detect.id)]
    assert "detections" not in jobs[0]
    (listed,) = (await http.get("/images")).json()["items"]
    assert {**listed, "created_at": None} == {**detail, "created_at": None}


async def test_what_was_not_kept_has_no_links(http: httpx.AsyncClient, storage: Parts) -> None:
    image = new_image(s3_key=None)
    job = new_job(image.id, "solid", processed_s3_key=None)
    await storage.images.insert(image)
    await storage.jobs.insert(job)
    shown = (await http.get(f"/images/{image.id}")).json()
    assert (shown["original_url"], shown["processed_url"]) == (None, None)
    assert shown["jobs"][0]["processed_url"] is None
    for path in (f"/images/{image.id}/download", f"/jobs/{job.id}/download"):
        answer = await http.get(path)
        assert (answer.status_code, set(answer.json())) == (404, {"detail"})


async def test_a_job_is_shown_with_its_parameters_and_the_full_faces(
    http: httpx.AsyncClient, storage: Parts
) -> None:
    image = new_image()
    await storage.images.insert(image)
    mask, detect = new_job(image.id, "pixelate"), new_job(image.id)
    for job in (mask, detect):
        await storage.jobs.insert(job)
    shown = (await http.get(f"/jobs/{mask.id}")).json()
    assert shown.pop("created_at").endswith("Z")
    assert shown == {
        "id": str(mask.id),
        "image_id": str(image.id),
        "job_type": "mask",
        "status": "completed",
        "confidence_threshold": 0.5,
        "nms_threshold": 0.4,
        "method": "pixelate",
        "strength": 199,
        "padding": 0.15,
        "output_format": "jpeg",
        "output_quality": 95,
        "face_count": 1,
        "processed_url": f"https://public.test/{mask.processed_s3_key}",
        "processed_size_bytes": 300,
        "inference_ms": 12.345,
        "total_ms": 20.5,
        "detections": [FACE],
    }
    other = (await http.get(f"/jobs/{detect.id}")).json()
    five = ("method", "strength", "padding", "output_format", "output_quality")
    assert [other[name] for name in five] == [None] * 5
    assert (other["processed_url"], other["processed_size_bytes"]) == (None, None)
    listed = (await http.get("/jobs")).json()["items"]
    assert [item["id"] for item in listed] == [str(detect.id), str(mask.id)]
    assert "detections" not in listed[0]
    assert listed[1]["method"] == "pixelate"


async def test_downloads_redirect_to_links_no_cache_keeps(http: httpx.AsyncClient, storage: Parts) -> None:
    image = new_image()
    mask, detect = new_job(image.id, "solid"), new_job(image.id)
    await storage.images.insert(image)
    for job in (mask, detect):
        await storage.jobs.insert(job)
    for path, location in (
        (f"/images/{image.id}/download", f"https://private.test/{image.s3_key}?as=party.jpg"),
        (f"/jobs/{mask.id}/download", f"https://public.test/{mask.processed_s3_key}?as={mask.id}.jpeg"),
    ):
        answer = await http.get(path)
        assert answer.status_code == 302
        assert answer.headers["location"] == location
        assert answer.headers["cache-control"] == "no-store"
        assert answer.content == b""
    refused = await http.get(f"/jobs/{detect.id}/download")
    assert refused.status_code == 404
    assert "detect job" in refused.json()["detail"]


async def test_jobs_are_filtered_counted_and_paged(http: httpx.AsyncClient, storage: Parts) -> None:
    image = new_image()
    await storage.images.insert(image)
    for method in (None, "solid", "gaussian", "solid", None, "solid"):
        await storage.jobs.insert(new_job(image.id, method))

    async def page(**query: Any) -> tuple[int, list[str | None]]:
        answer = (await http.get("/jobs", params=query)).json()
        return answer["total"], [item["method"] for item in answer["items"]]

    assert await page() == (6, ["solid", None, "solid", "gaussian", "solid", None])
    assert await page(job_type="detect") == (2, [None, None])
    assert await page(job_type="mask", per_page=3, page=2) == (4, ["solid"])
    assert await page(method="solid") == (3, ["solid"] * 3)
    assert await page(method="gaussian", job_type="mask") == (1, ["gaussian"])
    assert await page(method="gaussian", job_type="detect") == (0, [])
    assert await page(method="elliptical") == (0, [])
    envelope = (await http.get("/jobs", params={"per_page": 4, "page": 2})).json()
    envelope.pop("items")
    assert envelope == {"total": 6, "page": 2, "per_page": 4, "pages": 2}


async def test_a_deleted_image_takes_its_rows_and_objects_along(
    http: httpx.AsyncClient, storage: Parts, database_url: str
) -> None:
    image = new_image()
    job = new_job(image.id, "solid")
    await storage.images.insert(image)
    await storage.jobs.insert(job)
    assert (await http.delete(f"/images/{image.id}")).status_code == 204
    assert sorted(storage.objects.removed) == sorted([str(image.s3_key), str(job.processed_s3_key)])
    assert await tasks(database_url) == []
    for path in (f"/images/{image.id}", f"/jobs/{job.id}"):
        assert (await http.get(path)).status_code == 404
    assert (await http.delete(f"/images/{image.id}")).status_code == 404


async def test_an_object_that_cannot_be_removed_stays_queued_and_waits(
    http: httpx.AsyncClient, storage: Parts, database_url: str
) -> None:
    image = new_image()
    job = new_job(image.id, "solid")
    await storage.images.insert(image)
    await storage.jobs.insert(job)
    storage.objects.stuck = {str(image.s3_key)}
    assert (await http.delete(f"/images/{image.id}")).status_code == 204
    assert storage.objects.removed == [job.processed_s3_key]
    assert await tasks(database_url) == [(image.s3_key, 1)]
    assert await storage.cleanup.claim(10, 1) == []


async def test_a_database_that_goes_after_the_rows_leaves_the_objects_to_maintenance(
    http: httpx.AsyncClient, storage: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(keys: list[str]) -> None:
        raise DatabaseUnavailableError("away")

    image = new_image()
    await storage.images.insert(image)
    monkeypatch.setattr(storage.cleanup, "claim_keys", away)
    assert (await http.delete(f"/images/{image.id}")).status_code == 204
    assert storage.objects.removed == []
    assert [task.s3_key for task in await storage.cleanup.claim(10, 1)] == [image.s3_key]


async def test_rows_and_tasks_go_together_or_not_at_all(
    http: httpx.AsyncClient, storage: Parts, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    async def away(keys: list[str], owner: int | None, due_in_s: float) -> None:
        raise DatabaseUnavailableError("away")

    image = new_image()
    await storage.images.insert(image)
    monkeypatch.setattr(storage.cleanup, "add", away)
    assert (await http.delete(f"/images/{image.id}")).status_code == 503
    assert (await http.get(f"/images/{image.id}")).status_code == 200
    assert storage.objects.removed == []


async def test_an_image_is_deleted_once_however_many_ask(http: httpx.AsyncClient, storage: Parts) -> None:
    image = new_image()
    await storage.images.insert(image)
    answers = await asyncio.gather(*(http.delete(f"/images/{image.id}") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [204, 404, 404, 404, 404]
    assert storage.objects.removed == [image.s3_key]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/images/not-a-uuid", 422),
        ("/images/not-a-uuid/download", 422),
        ("/jobs/%00", 422),
        ("/jobs/1/download", 422),
        (f"/images/{uuid4()}", 404),
        (f"/images/{uuid4()}/download", 404),
        (f"/jobs/{uuid4()}", 404),
        (f"/jobs/{uuid4()}/download", 404),
        ("/images?page=2", 404),
        ("/jobs?page=2147483647&per_page=100", 404),
        ("/images?per_page=101", 422),
        ("/images?page=0", 422),
        ("/jobs?page=-1", 422),
        ("/jobs?job_type=other", 422),
        ("/jobs?job_type=", 422),
        ("/jobs?method=blur", 422),
        ("/jobs?method=solid'--", 422),
    ],
)
async def test_ids_pages_and_filters_that_are_none_wear_the_envelope(
    http: httpx.AsyncClient, path: str, status: int
) -> None:
    answer = await http.get(path)
    assert (answer.status_code, set(answer.json())) == (status, {"detail"})


async def test_page_1_of_nothing_is_empty(http: httpx.AsyncClient) -> None:
    for path in ("/images", "/jobs"):
        empty = {"items": [], "total": 0, "page": 1, "per_page": 20, "pages": 1}
        assert (await http.get(path)).json() == empty


CALLS = [
    ("GET", "/stats"),
    ("GET", "/images"),
    ("GET", f"/images/{uuid4()}"),
    ("DELETE", f"/images/{uuid4()}"),
    ("GET", f"/images/{uuid4()}/download"),
    ("GET", "/jobs"),
    ("GET", f"/jobs/{uuid4()}"),
    ("GET", f"/jobs/{uuid4()}/download"),
]


async def test_only_the_administrator_may_ask(http: httpx.AsyncClient) -> None:
    http.auth = None  # type: ignore[assignment]
    for method, path in CALLS:
        answer = await http.request(method, path)
        assert (answer.status_code, set(answer.json())) == (401, {"detail"}), path


async def test_without_storage_each_call_is_a_501_that_names_the_switch(
    app: FastAPI, http: httpx.AsyncClient
) -> None:
    app.state.storage = None
    for method, path in CALLS:
        answer = await http.request(method, path)
        assert answer.status_code == 501, path
        assert "FACE_API_STORAGE_ENABLED" in answer.json()["detail"]


def test_the_document_tells_of_redirects_and_every_failure() -> None:
    app = FastAPI()
    app.include_router(admin_data.router)
    paths = app.openapi()["paths"]
    download = paths[f"{ADMIN}/jobs/{{job_id}}/download"]["get"]["responses"]
    assert set(download) == {"302", "401", "404", "422", "429", "500", "501", "503"}
    assert {"Location", "Cache-Control", "X-Request-Id"} <= set(download["302"]["headers"])
    assert "content" not in download["302"]
    assert "403" in paths[f"{ADMIN}/images/{{image_id}}"]["delete"]["responses"]
    parameters = {p["name"]: p["schema"] for p in paths[f"{ADMIN}/jobs"]["get"]["parameters"]}
    assert parameters["method"]["enum"] == ["gaussian", "pixelate", "solid", "elliptical"]
    assert parameters["job_type"]["enum"] == ["detect", "mask"]


async def test_the_last_24_hours_are_counted_hour_by_hour(
    http: httpx.AsyncClient, storage: Parts, database_url: str
) -> None:
    image = new_image()
    await storage.images.insert(image)
    for method in (None, "gaussian", "solid", None, "pixelate"):
        await storage.jobs.insert(new_job(image.id, method))
    connection = await asyncpg.connect(database_url)
    now = await connection.fetchval("SELECT now()")
    ages = [timedelta(hours=23), timedelta(hours=1), timedelta(hours=1), timedelta(hours=25), timedelta(0)]
    rows = await connection.fetch("SELECT id FROM processing_jobs ORDER BY created_at, id")
    for row, hours in zip(rows, ages, strict=True):
        await connection.execute(
            "UPDATE processing_jobs SET created_at = $2 WHERE id = $1", row["id"], now - hours
        )
    await connection.close()
    hours = (await http.get("/stats/hourly")).json()["hours"]
    starts = [datetime.fromisoformat(hour["start"]) for hour in hours]
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    assert starts == [this_hour - timedelta(hours=23 - index) for index in range(24)]
    counts = {index: (hour["detect"], hour["mask"]) for index, hour in enumerate(hours)}
    assert {index: both for index, both in counts.items() if both != (0, 0)} == {
        0: (1, 0),
        22: (0, 2),
        23: (0, 1),
    }
