from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.sql import ClauseElement

from serve_app.database import Database
from serve_app.repositories.images import ImageRepository
from serve_app.repositories.jobs import JobRepository
from tests.serve_app.repositories.conftest import FACE, new_image, new_job

pytestmark = pytest.mark.postgres


@pytest.fixture
async def jobs(database: Database) -> JobRepository:
    return JobRepository(database)


async def stored_image(database: Database) -> Any:
    image = new_image()
    await ImageRepository(database).insert(image)
    return image.id


async def test_a_job_is_found_as_it_was_stored(database: Database, jobs: JobRepository) -> None:
    image_id = await stored_image(database)
    for job in (
        new_job(image_id),
        new_job(image_id, "elliptical"),
        new_job(image_id, "solid", processed_s3_key=None, processed_size_bytes=None, detections=[]),
        new_job(image_id, detections=[{**FACE, "note": '"😀\\ $1 %s :x'}, FACE]),
    ):
        await jobs.insert(job)
        found = await jobs.get_with_detections(job.id)
        assert found is not None
        stored, detections = found
        assert detections == job.detections
        names = set(job.__dataclass_fields__) - {"detections"}
        assert {name: getattr(stored, name) for name in names} == {name: getattr(job, name) for name in names}
        assert await jobs.get(job.id) == stored
    assert await jobs.get(uuid4()) is None
    assert await jobs.get_with_detections(uuid4()) is None


async def test_detections_are_json_to_the_database_too(
    database: Database, jobs: JobRepository, database_url: str
) -> None:
    await jobs.insert(new_job(await stored_image(database)))
    connection = await asyncpg.connect(database_url)
    query = "SELECT (detections -> 0 ->> 'confidence')::float FROM processing_jobs"
    assert await connection.fetchval(query) == 0.9
    await connection.close()


async def test_pages_are_filtered_by_type_and_method(database: Database, jobs: JobRepository) -> None:
    image_id = await stored_image(database)
    made = [new_job(image_id, method) for method in (None, "solid", None, "gaussian", "solid")]
    for job in made:
        await jobs.insert(job)

    async def page(*filters: Any) -> list[int]:
        ids = [job.id for job in made]
        return [ids.index(row.id) for row in await jobs.page(0, 10, 10, *filters)]

    assert await page() == [4, 3, 2, 1, 0]
    assert await page("detect") == [2, 0]
    assert await page("mask") == [4, 3, 1]
    assert await page(None, "solid") == [4, 1]
    assert await page("mask", "gaussian") == [3]
    assert await page("detect", "gaussian") == []
    assert await page(None, "elliptical") == []
    last = await jobs.page(2, 2, 3, "mask")
    assert [row.id for row in last] == [made[1].id]
    assert [row.id for row in await jobs.of_image(image_id)] == [job.id for job in reversed(made)]


async def test_lists_never_read_the_detections(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def fetch_all(query: ClauseElement) -> Sequence[Any]:
        asked.append(str(query))
        return []

    monkeypatch.setattr(database, "fetch_all", fetch_all)
    jobs = JobRepository(database)
    await jobs.page(0, 10, 10)
    await jobs.of_image(uuid4())
    assert len(asked) == 2
    assert not any("detections" in query for query in asked)


@pytest.mark.parametrize(
    "changes",
    [
        {"job_type": "other"},
        {"job_type": "mask"},
        {"blur_strength": 5},
        {"blur_method": "mosaic", "job_type": "mask", "blur_strength": 1, "padding": 0.1},
    ],
)
async def test_jobs_that_contradict_themselves_are_refused(
    database: Database, jobs: JobRepository, changes: dict[str, Any]
) -> None:
    image_id = await stored_image(database)
    with pytest.raises(asyncpg.CheckViolationError):
        await jobs.insert(new_job(image_id, **{"method": None, **changes}))
