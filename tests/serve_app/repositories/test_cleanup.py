import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from serve_app.database import Database
from serve_app.repositories.cleanup import Backlog, CleanupRepository
from serve_app.repositories.images import ImageRepository
from serve_app.repositories.jobs import JobRepository
from tests.serve_app.repositories.conftest import new_image, new_job

pytestmark = pytest.mark.postgres
OWNERS = 0xFACE
HOUR_S = 3600.0


@pytest.fixture
def cleanup(database: Database) -> CleanupRepository:
    return CleanupRepository(database)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def claimed(cleanup: CleanupRepository, count: int = 100) -> list[str]:
    return [task.s3_key for task in await cleanup.claim(count, OWNERS)]


async def test_garbage_is_due_at_once_and_claimed_only_once(cleanup: CleanupRepository) -> None:
    await cleanup.add(["a", "b", "c"], None, 0.0)
    await cleanup.add([], None, 0.0)
    await cleanup.add(["later"], None, HOUR_S)
    assert await claimed(cleanup, 2) == ["a", "b"]
    assert await claimed(cleanup) == ["c"]
    assert await claimed(cleanup) == []


async def test_two_that_claim_at_once_share_the_tasks(database: Database, cleanup: CleanupRepository) -> None:
    keys = [f"key {i}" for i in range(200)]
    await cleanup.add(keys, None, 0.0)
    batches = await asyncio.gather(*(claimed(cleanup, 25) for _ in range(8)))
    rest = [key for _ in range(8) for key in await claimed(cleanup, 25)]
    assert sorted([key for batch in batches for key in batch] + rest) == sorted(keys)


async def test_a_claim_passes_over_tasks_somebody_holds(
    database: Database, cleanup: CleanupRepository
) -> None:
    await cleanup.add(["held", "free"], 5, HOUR_S)
    async with database.transaction():
        assert await cleanup.take_back(["held"], 5) == 1
        other = asyncio.create_task(claimed(cleanup))  # a task of asyncio has a connection of its own
        assert await asyncio.wait_for(other, 2.0) == ["free"]


async def test_an_owner_takes_back_its_own_tasks_and_hears_how_many_were_left(
    cleanup: CleanupRepository,
) -> None:
    await cleanup.add(["a", "b"], 5, HOUR_S)
    await cleanup.add(["a"], 6, HOUR_S)
    assert await cleanup.take_back(["a", "b", "never"], 5) == 2
    assert await cleanup.take_back(["a", "b"], 5) == 0
    assert await cleanup.take_back(["a"], 6) == 1


async def test_an_upload_whose_task_was_claimed_cannot_be_taken_back(cleanup: CleanupRepository) -> None:
    await cleanup.add(["original", "result"], 5, 0.0)  # it took too long
    assert await claimed(cleanup, 1) == ["original"]
    assert await cleanup.take_back(["original", "result"], 5) == 1


async def test_a_transaction_that_fails_leaves_the_tasks_it_took_back(
    database: Database, cleanup: CleanupRepository
) -> None:
    await cleanup.add(["a"], 5, HOUR_S)
    with pytest.raises(RuntimeError):
        async with database.transaction():
            await cleanup.take_back(["a"], 5)
            raise RuntimeError
    assert await cleanup.take_back(["a"], 5) == 1


async def test_tasks_of_a_living_owner_wait_and_those_of_a_dead_one_do_not(
    cleanup: CleanupRepository, connection: Any, database_url: str
) -> None:
    largest = 2**31 - 1
    owner = await asyncpg.connect(database_url)
    await owner.execute("SELECT pg_advisory_lock($1, $2)", OWNERS, 5)
    await owner.execute("SELECT pg_advisory_lock($1, $2)", OWNERS, largest)
    await connection.execute("SELECT pg_advisory_lock($1, $2)", OWNERS + 1, 6)  # another kind of lock
    await connection.execute("SELECT pg_advisory_lock($1::bigint)", (OWNERS << 32) + 7)
    for number in (5, 6, 7, largest):
        await cleanup.add([f"of {number}"], number, HOUR_S)
    assert await claimed(cleanup) == ["of 6", "of 7"]
    await owner.close()
    await asyncio.sleep(0.2)
    assert await claimed(cleanup) == ["of 5", f"of {largest}"]


async def test_locks_in_another_database_keep_nobody_alive(cleanup: CleanupRepository, postgres: str) -> None:
    elsewhere = await asyncpg.connect(postgres)
    await elsewhere.execute("SELECT pg_advisory_lock($1, $2)", OWNERS, 5)
    await cleanup.add(["a"], 5, HOUR_S)
    assert await claimed(cleanup) == ["a"]
    await elsewhere.close()


async def test_what_failed_may_be_tried_at_once(cleanup: CleanupRepository) -> None:
    await cleanup.add(["a"], None, 0.0)
    (task,) = await cleanup.claim(10, OWNERS)
    await cleanup.failed([task.id], "no")
    assert await claimed(cleanup) == []
    await cleanup.retry_now()
    assert await claimed(cleanup) == ["a"]


async def test_what_is_done_is_gone(cleanup: CleanupRepository, connection: Any) -> None:
    await cleanup.add(["a", "b"], None, 0.0)
    tasks = await cleanup.claim(10, OWNERS)
    await cleanup.done([tasks[0].id])
    await cleanup.done([])
    assert await connection.fetchval("SELECT array_agg(s3_key) FROM storage_cleanup_tasks") == ["b"]


async def test_what_failed_waits_twice_as_long_each_time_up_to_an_hour(
    cleanup: CleanupRepository, connection: Any
) -> None:
    await cleanup.add(["a"], None, 0.0)
    (task,) = await cleanup.claim(10, OWNERS)
    waits: list[float] = []
    wait = "SELECT extract(epoch FROM due_at - now())::float FROM storage_cleanup_tasks"
    for _ in range(12):
        await cleanup.failed([task.id], "x" * 10_000)
        waits.append(await connection.fetchval(wait))
    for attempt, seconds in enumerate(waits):
        longest = min(HOUR_S, 10.0 * 2**attempt)
        assert longest / 2 - 1 <= seconds <= longest
    await connection.execute("UPDATE storage_cleanup_tasks SET attempts = 100000")
    await cleanup.failed([task.id], "again")
    row = await connection.fetchrow("SELECT attempts, last_error FROM storage_cleanup_tasks")
    assert tuple(row) == (100_001, "again")
    assert await connection.fetchval(wait) <= HOUR_S


async def test_what_failed_together_is_not_tried_together(
    cleanup: CleanupRepository, connection: Any
) -> None:
    await cleanup.add([str(i) for i in range(50)], None, 0.0)
    await cleanup.failed([task.id for task in await cleanup.claim(50, OWNERS)], "down")
    count = await connection.fetchval("SELECT count(DISTINCT due_at) FROM storage_cleanup_tasks")
    assert count > 40


async def test_a_claim_of_somebody_who_died_is_due_again(cleanup: CleanupRepository, connection: Any) -> None:
    await cleanup.add(["a"], None, 0.0)
    assert await claimed(cleanup) == ["a"]
    await connection.execute("UPDATE storage_cleanup_tasks SET due_at = due_at - interval '301 s'")
    assert await claimed(cleanup) == ["a"]


async def test_the_backlog_leaves_uploads_under_way_out(cleanup: CleanupRepository, connection: Any) -> None:
    await cleanup.add(["uploading"], 5, HOUR_S)
    assert await cleanup.count_and_oldest() == Backlog(0, 0.0)
    await cleanup.add(["a", "b"], None, HOUR_S)
    await cleanup.add(["late"], 5, 0.0)
    await connection.execute(
        "UPDATE storage_cleanup_tasks SET created_at = now() - interval '90 s' WHERE s3_key = 'a'"
    )
    backlog = await cleanup.count_and_oldest()
    assert backlog.count == 3
    assert backlog.oldest_s == pytest.approx(90, abs=5)


async def test_keys_are_known_from_images_jobs_and_tasks(
    database: Database, cleanup: CleanupRepository
) -> None:
    image = new_image(s3_key="originals/1/%_😀'.jpg")
    job = new_job(image.id, "solid", processed_s3_key="processed/1")
    await ImageRepository(database).insert(image)
    await JobRepository(database).insert(job)
    await cleanup.add(["task"], 5, HOUR_S)
    known = ["originals/1/%_😀'.jpg", "processed/1", "task"]
    assert await cleanup.known_keys([*known, "originals/1/", "other"]) == set(known)
    assert await cleanup.known_keys([]) == set()
