"""Writing down what one request left: one statement, so one way to the database and back."""

from dataclasses import fields
from typing import Any, Final

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from serve_app.database import Database, Prepared
from serve_app.repositories.cleanup import TASKS_OF_OWNER
from serve_app.repositories.images import Image
from serve_app.repositories.jobs import Job, JobFacts, detections_text
from serve_app.tables import images, processing_jobs

IMAGE_COLUMNS: Final = [field.name for field in fields(Image)]
JOB_COLUMNS: Final = [field.name for field in fields(JobFacts)]


def _keep() -> Prepared:
    """Take the tasks back and add the rows; dividing by zero unless every task was there."""
    taken = TASKS_OF_OWNER.cte("taken")
    has_all = sa.func.count() == sa.cast(sa.bindparam("key_count"), sa.Integer)
    one = sa.literal_column("1", sa.Integer)
    counted = sa.select((one // sa.cast(has_all, sa.Integer)).label("one")).select_from(taken).subquery()
    image = (
        images.insert()
        .from_select(IMAGE_COLUMNS, sa.select(*_values(images, IMAGE_COLUMNS)).where(counted.c.one == one))
        .returning(images.c.id)
        .cte("image")
    )
    detections = sa.cast(sa.bindparam("detections", type_=sa.Text), pg.JSONB)
    job = processing_jobs.insert().from_select(
        [*JOB_COLUMNS, "detections"],
        sa.select(*_values(processing_jobs, JOB_COLUMNS), detections).select_from(image),
    )
    return Prepared(job)


def _values(table: sa.Table, columns: list[str]) -> list[sa.ColumnElement[Any]]:
    return [sa.cast(sa.bindparam(f"{table.name}_{name}"), table.c[name].type) for name in columns]


KEEP: Final = _keep()


class RecordRepository:
    """Images and jobs as they are made."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, image: Image, job: Job, keys: list[str], owner: int) -> bool:
        """Add both rows and take the cleanup tasks of their objects back: all of it, or nothing.

        Args:
            image: The picture.
            job: What was done to it.
            keys: Of the objects the rows name.
            owner: Of the tasks; see CleanupRepository.add.

        Returns:
            False when a task is gone: cleanup was quicker, and the object may be gone as well.
        """
        values: dict[str, Any] = {f"images_{name}": getattr(image, name) for name in IMAGE_COLUMNS}
        values |= {f"processing_jobs_{name}": getattr(job, name) for name in JOB_COLUMNS}
        text = detections_text(job)
        try:
            await self._database.run(
                KEEP, keys=keys, owner=owner, key_count=len(keys), detections=text, **values
            )
        except asyncpg.DivisionByZeroError:
            return False
        return True
