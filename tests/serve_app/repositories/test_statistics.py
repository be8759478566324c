import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, get_args
from uuid import UUID, uuid4

import asyncpg
import pytest

from deployments.types import MaskMethod
from serve_app.database import Database
from serve_app.repositories.cleanup import CleanupRepository
from serve_app.repositories.images import ImageRepository
from serve_app.repositories.jobs import JobRepository
from serve_app.repositories.statistics import StatisticsRepository, Totals
from serve_app.services.deletion import delete_image
from tests.serve_app.repositories.conftest import new_image, new_job

pytestmark = pytest.mark.postgres
METHODS = get_args(MaskMethod)
IMAGE = """
INSERT INTO images (id, filename, content_type, size_bytes, width, height, s3_key)
VALUES ($1, 'a.png', 'image/png', 7, 1, 1, 'originals/a.png')
"""
JOB = """
INSERT INTO processing_jobs (
    id, image_id, job_type, status, confidence_threshold, nms_threshold, blur_method, blur_strength, padding,
    output_format, output_quality, face_count, detections, processed_size_bytes, inference_ms, total_ms
) VALUES ($1, $2, 'mask', 'completed', 0.5, 0.4, $3, 9, 0, 'png', 9, 2, '[]', 3, 1.5, 2)
"""
CASCADE = """
WITH locked AS (SELECT id FROM images WHERE id = ANY($1) ORDER BY id FOR UPDATE)
DELETE FROM images USING locked WHERE images.id = locked.id
"""
EMPTY = Totals(0, 0, dict.fromkeys(METHODS, 0), 0, 0.0, 0, 0)
COUNTED = """
SELECT (SELECT count(*) FROM images) AS images,
       count(*) FILTER (WHERE job_type = 'detect') AS detect_jobs,
       count(*) FILTER (WHERE blur_method = 'gaussian') AS gaussian,
       count(*) FILTER (WHERE blur_method = 'pixelate') AS pixelate,
       count(*) FILTER (WHERE blur_method = 'solid') AS solid,
       count(*) FILTER (WHERE blur_method = 'elliptical') AS elliptical,
       coalesce(sum(face_count), 0) AS faces,
       coalesce(sum(inference_ms), 0) AS inference_ms,
       coalesce((SELECT sum(size_bytes) FROM images WHERE s3_key IS NOT NULL), 0)
           + coalesce(sum(processed_size_bytes) FILTER (WHERE processed_s3_key IS NOT NULL), 0) AS used_bytes,
       coalesce(sum(processed_size_bytes) FILTER (WHERE processed_s3_key IS NOT NULL), 0) AS result_bytes
FROM processing_jobs
"""


class Removed:
    async def delete(self, keys: list[str]) -> list[str]:
        return []


async def counted(url: str) -> Totals:
    """The totals, by reading every row."""
    connection = await asyncpg.connect(url)
    row = dict(await connection.fetchrow(COUNTED))
    await connection.close()
    by_method = {method: row.pop(method) for method in METHODS}
    return Totals(mask_jobs=by_method, **{name: pytest.approx(value) for name, value in row.items()})


async def test_what_is_stored_is_counted_and_what_is_deleted_is_not(database: Database) -> None:
    images, jobs, statistics = (
        ImageRepository(database),
        JobRepository(database),
        StatisticsRepository(database),
    )
    assert await statistics.totals() == EMPTY
    kept, other = new_image(size_bytes=5_000_000_000), new_image(s3_key=None, size_bytes=70)
    await images.insert(kept)
    await images.insert(other)
    for job in (
        new_job(kept.id, inference_ms=0.1, face_count=0),
        new_job(kept.id, "solid", inference_ms=0.2, face_count=3),
        new_job(other.id, "gaussian", inference_ms=0.3),
        new_job(other.id, "gaussian", processed_s3_key=None, inference_ms=0.0004),
    ):
        await jobs.insert(job)
    totals = await statistics.totals()
    assert totals == Totals(
        images=2,
        detect_jobs=1,
        mask_jobs={"gaussian": 2, "pixelate": 0, "solid": 1, "elliptical": 0},
        faces=5,
        inference_ms=0.6,
        used_bytes=5_000_000_600,
        result_bytes=600,
    )
    assert [totals.jobs(), totals.jobs("detect"), totals.jobs("mask")] == [4, 1, 3]
    assert [totals.jobs(None, "solid"), totals.jobs("mask", "gaussian")] == [1, 2]
    assert totals.jobs("detect", "solid") == 0
    for image in (kept, other):
        async with database.transaction():
            await images.delete(image.id)
    assert await statistics.totals() == EMPTY


async def test_a_cascade_and_a_rollback_count_rightly(database: Database, database_url: str) -> None:
    images, jobs, statistics = (
        ImageRepository(database),
        JobRepository(database),
        StatisticsRepository(database),
    )
    made = [new_image() for _ in range(5)]
    for image in made:
        await images.insert(image)
        await jobs.insert(new_job(image.id))
        await jobs.insert(new_job(image.id, "solid"))
    before = await statistics.totals()
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("DELETE FROM images")
    await transaction.rollback()
    assert await statistics.totals() == before
    await connection.execute("DELETE FROM images WHERE id = ANY($1)", [image.id for image in made[1:]])
    await connection.close()
    left = await statistics.totals()
    assert (left.images, left.jobs(), left.used_bytes) == (1, 2, 1300)


class Crowd:
    """Writers and deleters over more connections than there are shards, by SQL of their own and by ours.

    They work until `stop_s`, and on until each of them did something.
    """

    def __init__(self, pool: Any, database: Database, stop_s: float) -> None:
        self._pool = pool
        self._database = database
        self._stop_s = stop_s
        self._made: list[UUID] = []
        self.written = self.added = self.cascaded = self.deleted = 0

    @property
    def each_happened(self) -> bool:
        return min(self.written, self.added, self.cascaded, self.deleted) > 0

    async def work(self) -> None:
        workers = [self._write, self._write, self._add_job, self._cascade]
        raw = [self._repeat(worker) for worker in workers for _ in range(6)]
        await asyncio.gather(*raw, *(self._repeat(self._delete) for _ in range(3)))

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() < self._stop_s or not self.each_happened:
            await step()
            await asyncio.sleep(0)

    async def _write(self) -> None:
        image_id = uuid4()
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(IMAGE, image_id)
            for method in random.sample(METHODS, 2):
                await connection.execute(JOB, uuid4(), image_id, method)
        self._made.append(image_id)
        self.written += 1

    async def _add_job(self) -> None:
        with suppress(asyncpg.ForeignKeyViolationError):  # deleted meanwhile
            for image_id in random.sample(self._made[-20:], min(len(self._made), 1)):
                await self._pool.execute(JOB, uuid4(), image_id, "solid")
                self.added += 1

    async def _cascade(self) -> None:
        chosen = random.sample(self._made[-200:], min(len(self._made), 3))
        gone = await self._pool.execute(CASCADE, chosen)
        self.cascaded += int(gone.split()[-1])

    async def _delete(self) -> None:
        images, cleanup = ImageRepository(self._database), CleanupRepository(self._database)
        for image_id in random.sample(self._made[-200:], min(len(self._made), 1)):
            self.deleted += await delete_image(image_id, self._database, images, cleanup, Removed())


async def test_writers_and_deleters_at_once_neither_deadlock_nor_miscount(
    database: Database, database_url: str
) -> None:
    async with asyncpg.create_pool(database_url, min_size=24, max_size=24) as pool:
        crowd = Crowd(pool, database, time.monotonic() + 3.0)
        await crowd.work()
    assert min(crowd.written, crowd.added, crowd.cascaded, crowd.deleted) > 0
    assert await StatisticsRepository(database).totals() == await counted(database_url)
    assert (await CleanupRepository(database).count_and_oldest()).count == 0
