import pytest

from serve_app.database import Database
from serve_app.repositories.cleanup import CleanupRepository
from serve_app.repositories.images import ImageRepository
from serve_app.repositories.jobs import JobRepository
from serve_app.repositories.records import RecordRepository
from tests.serve_app.repositories.conftest import FACE, new_image, new_job

pytestmark = pytest.mark.postgres
OWNER = 5
HOUR_S = 3600.0


@pytest.fixture
async def records(database: Database) -> RecordRepository:
    return RecordRepository(database)


@pytest.fixture
async def cleanup(database: Database) -> CleanupRepository:
    return CleanupRepository(database)


async def test_rows_are_kept_as_they_were_made_and_their_tasks_are_gone(
    database: Database, records: RecordRepository, cleanup: CleanupRepository
) -> None:
    image = new_image(filename='$1 :x %s "😀".jpg')
    job = new_job(image.id, "solid", detections=[FACE, FACE])
    await cleanup.add(["a", "b"], OWNER, HOUR_S)
    await cleanup.add(["a"], 6, HOUR_S)  # somebody else's
    assert await records.keep(image, job, ["a", "b"], OWNER)
    stored = await ImageRepository(database).get(image.id)
    assert stored is not None
    assert all(getattr(stored, name) == getattr(image, name) for name in image.__dataclass_fields__)
    found = await JobRepository(database).get_with_detections(job.id)
    assert found is not None
    names = set(job.__dataclass_fields__) - {"detections"}
    assert all(getattr(found[0], name) == getattr(job, name) for name in names)
    assert found[1] == job.detections
    assert await cleanup.take_back(["a", "b"], OWNER) == 0
    assert await cleanup.take_back(["a"], 6) == 1


async def test_nothing_is_kept_and_no_task_taken_when_cleanup_was_quicker(
    database: Database, records: RecordRepository, cleanup: CleanupRepository
) -> None:
    image = new_image()
    await cleanup.add(["result"], OWNER, HOUR_S)  # and the original's task is gone
    assert not await records.keep(image, new_job(image.id), ["original", "result"], OWNER)
    assert await ImageRepository(database).get(image.id) is None
    assert await cleanup.take_back(["original", "result"], OWNER) == 1


async def test_a_detection_without_objects_needs_no_task(
    database: Database, records: RecordRepository
) -> None:
    image = new_image(s3_key=None)
    job = new_job(image.id)
    assert await records.keep(image, job, [], OWNER)
    assert await JobRepository(database).get(job.id) is not None
