"""How the lists read large tables: by the plans PostgreSQL chose and the rows they touched, not by the clock.

`FACE_API_TEST_JOBS=1000000` makes the tables as large as the times in DECISIONS.md were measured on.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from sqlalchemy.sql import ClauseElement

from deployments.types import MaskMethod
from serve_app.database import Database
from serve_app.repositories.cleanup import CleanupRepository
from serve_app.repositories.images import ImageRepository
from serve_app.repositories.jobs import JobRepository, JobType
from serve_app.repositories.statistics import StatisticsRepository

pytestmark = pytest.mark.postgres
JOBS = int(os.environ.get("FACE_API_TEST_JOBS", "200000"))
IMAGES = JOBS * 3 // 10
PER_PAGE = 100
BIG = {"images", "processing_jobs", "storage_cleanup_tasks"}

# The newest quarter of the jobs are all detect and elliptical is only among the oldest hundredth, so that
# walking the newest jobs and throwing away those of the wrong kind would read very many.
MAKE_IMAGES = """
INSERT INTO images (id, filename, content_type, size_bytes, width, height, s3_key, created_at)
SELECT md5('image' || i)::uuid, i || '.jpg', 'image/jpeg', 1000, 640, 480, 'originals/' || i,
       timestamptz '2026-01-01' + i * interval '3.3 s'
FROM generate_series(1, $1::int) AS i
"""
MAKE_JOBS = """
INSERT INTO processing_jobs (
    id, image_id, job_type, status, confidence_threshold, nms_threshold,
    blur_method, blur_strength, padding, output_format, output_quality,
    face_count, detections, processed_s3_key, processed_size_bytes, inference_ms, total_ms, created_at
)
SELECT md5('job' || i)::uuid, md5('image' || 1 + i % $2::int)::uuid,
       CASE WHEN method IS NULL THEN 'detect' ELSE 'mask' END, 'completed', 0.5, 0.4,
       method, method_199, method_199 / 1000.0, CASE WHEN method IS NOT NULL THEN 'jpeg' END, method_199,
       2, jsonb_build_array(jsonb_build_object('index', 0, 'confidence', i)),
       'processed/' || i || '/' || method, method_199, 12.345, 20,
       timestamptz '2026-01-01' + i * interval '1 s'
FROM generate_series(1, $1::int) AS i,
     LATERAL (SELECT CASE WHEN i * 4 > 3 * $1 OR i % 4 = 0 THEN NULL
                          WHEN i * 100 < $1 THEN 'elliptical'
                          ELSE (ARRAY['gaussian', 'pixelate', 'solid'])[1 + i % 3] END AS method) AS m,
     LATERAL (SELECT CASE WHEN method IS NOT NULL THEN 99 END AS method_199) AS s
"""
MAKE_TASKS = """
INSERT INTO storage_cleanup_tasks (s3_key, due_at)
SELECT 'processed/gone/' || i, now() + i * interval '1 h' FROM generate_series(1, $1::int / 10) AS i
"""


MAKE_RECENT = """
UPDATE processing_jobs SET created_at = now() WHERE id IN (SELECT id FROM processing_jobs LIMIT 50)
"""


class Explained(Database):
    """Keeps the plan of every query."""

    plans: list[dict[str, Any]]

    async def fetch_all(self, query: ClauseElement) -> Sequence[Any]:
        await self._explain(query)
        return await super().fetch_all(query)

    async def fetch_one(self, query: ClauseElement) -> Any | None:
        await self._explain(query)
        return await super().fetch_one(query)

    async def _explain(self, query: ClauseElement) -> None:
        async with self._database.connection() as connection:
            sql, arguments, _ = connection._connection._compile(query)  # type: ignore[attr-defined]
            raw: Any = connection.raw_connection
            undone = raw.transaction()  # the query itself follows
            await undone.start()
            plan = await raw.fetchval("EXPLAIN (ANALYZE, FORMAT JSON) " + sql, *arguments)
            await undone.rollback()
            self.plans.append(json.loads(plan)[0])

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Every step of the last plan."""
        waiting = [self.plans[-1]["Plan"]]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.get("Plans", [])

    def rows_read(self, *kinds: str) -> int:
        """Rows the last plan took from tables or indexes, also those it threw away."""
        return sum(
            int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
            for node in self.nodes()
            if node["Node Type"] in kinds
        )

    def check(self, most_rows: int) -> None:
        """The last plan walked no big table, and read few rows of them."""
        scanned = {node["Relation Name"] for node in self.nodes() if node["Node Type"] == "Seq Scan"}
        assert not scanned & BIG, self.plans[-1]
        assert self.rows_read("Index Scan", "Bitmap Heap Scan") <= most_rows, self.plans[-1]
        print(f"{self.plans[-1]['Execution Time']:.2f} ms", end=" ")  # noqa: T201 - shown by pytest -s


async def make(postgres: str, url: str) -> None:
    connection = await asyncpg.connect(postgres.replace("/face_api?", "/postgres?"))
    await connection.execute("CREATE DATABASE large TEMPLATE face_api")
    await connection.close()
    connection = await asyncpg.connect(url)
    await connection.execute(MAKE_IMAGES, IMAGES)
    await connection.execute(MAKE_JOBS, JOBS, IMAGES)
    await connection.execute(MAKE_TASKS, JOBS)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


@pytest.fixture(scope="module")
def large(postgres: str) -> str:
    """A database with very many rows, made once."""
    url = postgres.replace("/face_api?", "/large?")
    asyncio.run(make(postgres, url))
    return url


@pytest.fixture
async def database(large: str) -> AsyncIterator[Explained]:
    database = Explained(large, pool_size=1)
    database.plans = []
    await database.open()
    yield database
    await database.close()


@pytest.mark.parametrize(
    ("job_type", "method"),
    [
        (None, None),
        ("detect", None),
        ("mask", None),
        (None, "gaussian"),
        (None, "elliptical"),
        ("mask", "elliptical"),
        ("mask", "solid"),
    ],
)
async def test_the_first_and_the_last_page_of_jobs_read_only_their_own_rows(
    database: Explained, job_type: JobType | None, method: MaskMethod | None
) -> None:
    jobs = JobRepository(database)
    total = (await StatisticsRepository(database).totals()).jobs(job_type, method)
    page = await jobs.page(0, PER_PAGE, total, job_type, method)
    assert len(page) == PER_PAGE
    assert {job.job_type for job in page} <= ({job_type} if job_type else {"detect", "mask"})
    assert all(job.blur_method == method for job in page if method)
    assert [job.created_at for job in page] == sorted((job.created_at for job in page), reverse=True)
    database.check(PER_PAGE)
    assert database.rows_read("Index Only Scan") <= PER_PAGE
    last = await jobs.page(total - 10, PER_PAGE, total, job_type, method)
    assert len(last) == 10
    database.check(PER_PAGE)
    assert database.rows_read("Index Only Scan") <= PER_PAGE


async def test_detect_jobs_of_a_method_are_none_without_asking(database: Explained) -> None:
    assert await JobRepository(database).page(0, PER_PAGE, 0, "detect", "gaussian") == []
    assert database.plans == []


async def test_a_deep_page_walks_an_index_and_reads_only_its_own_rows(database: Explained) -> None:
    totals = await StatisticsRepository(database).totals()
    job_types: tuple[JobType | None, ...] = (None, "detect", "mask")
    for job_type in job_types:
        total = totals.jobs(job_type)
        page = await JobRepository(database).page(total // 2, PER_PAGE, total, job_type)
        assert len(page) == PER_PAGE
        database.check(PER_PAGE)
        assert database.rows_read("Index Only Scan") <= total / 2 + PER_PAGE
    assert len(await ImageRepository(database).page(IMAGES // 2, PER_PAGE, IMAGES)) == PER_PAGE
    database.check(10 * PER_PAGE)


async def test_pages_of_images_read_only_their_own_rows_and_jobs(database: Explained) -> None:
    images = ImageRepository(database)
    page = await images.page(0, PER_PAGE, IMAGES)
    assert len(page) == PER_PAGE
    assert all(image.job_count in {3, 4} for image in page)
    database.check(10 * PER_PAGE)
    assert await images.get(page[0].id) == page[0]
    database.check(10)
    assert len(await JobRepository(database).of_image(page[0].id)) == page[0].job_count
    database.check(4)


async def test_totals_read_a_few_rows_and_are_those_of_the_tables(database: Explained, large: str) -> None:
    totals = await StatisticsRepository(database).totals()
    assert database.rows_read("Seq Scan") <= 16
    database.check(0)
    connection = await asyncpg.connect(large)
    counted = dict(
        await connection.fetch(
            "SELECT coalesce(blur_method, 'detect'), count(*) FROM processing_jobs GROUP BY 1"
        )
    )
    await connection.close()
    assert totals.images == IMAGES
    assert {"detect": totals.detect_jobs, **totals.mask_jobs} == counted
    assert totals.faces == 2 * JOBS
    assert totals.inference_ms == pytest.approx(12.345 * JOBS)
    assert totals.used_bytes == 1000 * IMAGES + 99 * sum(totals.mask_jobs.values())


async def test_the_oldest_images_are_found_by_an_index(database: Explained) -> None:
    found = await ImageRepository(database).older_than(datetime(2027, 1, 1, tzinfo=UTC), PER_PAGE)
    assert len(found) == PER_PAGE
    database.check(PER_PAGE)
    assert await ImageRepository(database).older_than(datetime(2025, 1, 1, tzinfo=UTC), PER_PAGE) == []
    database.check(0)


async def test_a_hundred_keys_are_known_by_indexes(database: Explained) -> None:
    middle = JOBS // 2
    wanted = [f"originals/{i}" for i in range(1, 41)] + [f"processed/gone/{i}" for i in range(1, 31)]
    tried = [
        f"processed/{i}/{method}" for i in range(middle, middle + 12) for method in ("solid", "pixelate")
    ]
    known = await CleanupRepository(database).known_keys(wanted + tried)
    assert known >= set(wanted)
    assert 0 < len(known - set(wanted)) < len(tried)
    database.check(200)


async def test_a_task_of_a_dead_owner_is_found_among_very_many_that_wait(database: Explained) -> None:
    cleanup = CleanupRepository(database)
    assert await cleanup.claim(100, 1) == []
    print(f"{database.plans[-1]['Execution Time']:.2f} ms", end=" ")  # noqa: T201 - shown by pytest -s
    await cleanup.add(["of a dead owner"], 7, 3600.0)
    assert [task.s3_key for task in await cleanup.claim(100, 1)] == ["of a dead owner"]


async def test_jobs_by_hour_read_only_the_rows_of_those_hours(database: Explained, large: str) -> None:
    connection = await asyncpg.connect(large)
    await connection.execute(MAKE_RECENT)
    await connection.close()
    hours = await StatisticsRepository(database).jobs_by_hour(24)
    assert len(hours) == 24
    assert sum(hour.detect_jobs + hour.mask_jobs for hour in hours) == 50
    database.check(50)
    assert database.rows_read("Index Only Scan", "Bitmap Index Scan") <= 100
