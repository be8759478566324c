import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from serve_app.database import Database
from serve_app.repositories.images import ImageRepository
from serve_app.repositories.jobs import JobRepository
from tests.serve_app.repositories.conftest import new_image, new_job

pytestmark = pytest.mark.postgres


@pytest.fixture
def images(database: Database) -> ImageRepository:
    return ImageRepository(database)


@pytest.fixture
def jobs(database: Database) -> JobRepository:
    return JobRepository(database)


async def test_an_image_is_found_as_it_was_stored(images: ImageRepository) -> None:
    for image in (new_image(filename="😀 ' \" %s :x.jpg"), new_image(s3_key=None)):
        await images.insert(image)
        stored = await images.get(image.id)
        assert stored is not None
        assert {name: getattr(stored, name) for name in image.__dataclass_fields__} == {
            name: getattr(image, name) for name in image.__dataclass_fields__
        }
        assert datetime.now(UTC) - stored.created_at < timedelta(minutes=1)
        assert (stored.job_count, stored.processed_s3_key) == (0, None)
    assert await images.get(uuid4()) is None


async def test_an_image_knows_its_jobs_and_the_latest_result_that_was_kept(
    images: ImageRepository, jobs: JobRepository
) -> None:
    image, other = new_image(), new_image()
    await images.insert(image)
    await images.insert(other)
    made = [new_job(image.id, "solid"), new_job(image.id, "gaussian")]
    made += [new_job(image.id, "pixelate", processed_s3_key=None), new_job(image.id)]
    for job in made:
        await jobs.insert(job)
    stored = await images.get(image.id)
    assert stored is not None
    assert (stored.job_count, stored.processed_s3_key) == (4, made[1].processed_s3_key)
    assert [row.id for row in await images.page(0, 10, 2)] == [other.id, image.id]
    assert await images.page(1, 1, 2) == [stored]


async def test_every_page_of_a_list_holds_its_own_rows(images: ImageRepository) -> None:
    made = [new_image() for _ in range(11)]
    for image in made:
        await images.insert(image)
    expected = [image.id for image in reversed(made)]
    for size in (1, 2, 3, 5, 10, 11, 12):
        pages = [await images.page(offset, size, 11) for offset in range(0, 11, size)]
        assert [row.id for page in pages for row in page] == expected, size
    assert await images.page(0, 20, 0) != []  # one was added after the count


async def test_images_older_than_a_time_come_oldest_first_in_batches(images: ImageRepository) -> None:
    made = [new_image() for _ in range(3)]
    for image in made:
        await images.insert(image)
    assert await images.older_than(datetime.now(UTC) + timedelta(days=1), 2) == [i.id for i in made[:2]]
    newest = await images.get(made[2].id)
    assert newest is not None
    assert await images.older_than(newest.created_at, 10) == [i.id for i in made[:2]]
    assert await images.older_than(datetime.now(UTC) - timedelta(days=1), 2) == []


async def test_deleting_an_image_names_every_object_that_became_garbage(
    database: Database, images: ImageRepository, jobs: JobRepository
) -> None:
    image, neighbour = new_image(), new_image()
    made = [new_job(image.id, "solid"), new_job(image.id, "gaussian"), new_job(image.id)]
    kept = new_job(neighbour.id, "solid")
    for row in (image, neighbour):
        await images.insert(row)
    for job in (*made, kept):
        await jobs.insert(job)
    async with database.transaction():
        keys = await images.delete(image.id)
    assert keys is not None
    assert sorted(keys) == sorted(str(k) for k in (image.s3_key, *(j.processed_s3_key for j in made[:2])))
    assert await images.get(image.id) is None
    assert await jobs.of_image(image.id) == []
    assert [job.id for job in await jobs.of_image(neighbour.id)] == [kept.id]
    async with database.transaction():
        assert await images.delete(image.id) is None


async def test_the_results_of_a_job_that_is_just_being_added_are_not_forgotten(
    database: Database, images: ImageRepository, jobs: JobRepository
) -> None:
    image = new_image(s3_key=None)
    await images.insert(image)
    late = new_job(image.id, "solid")
    is_inserted, may_commit = asyncio.Event(), asyncio.Event()

    async def add() -> None:
        async with database.transaction():
            await jobs.insert(late)
            is_inserted.set()
            await may_commit.wait()

    async def delete() -> list[str] | None:
        async with database.transaction():
            return await images.delete(image.id)

    adding = asyncio.create_task(add())
    await is_inserted.wait()
    deleting = asyncio.create_task(delete())
    await asyncio.sleep(0.2)
    assert not deleting.done()
    may_commit.set()
    assert await deleting == [late.processed_s3_key]
    await adding
    assert await images.get(image.id) is None
