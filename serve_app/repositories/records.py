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
_ONE: Final = sa.literal_column("1", sa.Integer)


def _keep() -> Prepared:
    """Take the tasks back and add the rows."""
    counted = _all_taken()
    image = (
        images.insert()
        .from_select(IMAGE_COLUMNS, sa.select(*_values(images, IMAGE_COLUMNS)).where(counted.c.one == _ONE))
        .returning(images.c.id)
        .cte("image")
    )
    detections = sa.cast(sa.bindparam("detections", type_=sa.Text), pg.JSONB)
    job = processing_jobs.insert().from_select(
        [*JOB_COLUMNS, "detections"],
        sa.select(*_values(processing_jobs, JOB_COLUMNS), detections).select_from(image),
    )
    return Prepared(job)


def _keep_job() -> Prepared:
    """Take the tasks back and add the job; an image that is gone breaks its foreign key: nothing is done."""
    detections = sa.cast(sa.bindparam("detections", type_=sa.Text), pg.JSONB)
    counted = _all_taken()
    values = sa.select(*_values(processing_jobs, JOB_COLUMNS), detections).where(counted.c.one == _ONE)
    return Prepared(processing_jobs.insert().from_select([*JOB_COLUMNS, "detections"], values))


def _all_taken() -> sa.Subquery:
    """One row `one` of 1 once every task was taken back; dividing by zero unless each was there."""
    taken = TASKS_OF_OWNER.cte("taken")
    has_all = sa.func.count() == sa.cast(sa.bindparam("key_count"), sa.Integer)
    return sa.select((_ONE // sa.cast(has_all, sa.Integer)).label("one")).select_from(taken).subquery()


def _values(table: sa.Table, columns: list[str]) -> list[sa.ColumnElement[Any]]:
    return [sa.cast(sa.bindparam(f"{table.name}_{name}"), table.c[name].type) for name in columns]


KEEP: Final = _keep()
KEEP_JOB: Final = _keep_job()


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
        values = {f"images_{name}": getattr(image, name) for name in IMAGE_COLUMNS}
        return await self._keep(KEEP, job, keys, owner, values)

    async def keep_job(self, job: Job, keys: list[str], owner: int) -> bool:
        """The same for one more job of an image that is there already.

        Returns:
            False also when the image is gone.
        """
        return await self._keep(KEEP_JOB, job, keys, owner, {})

    async def _keep(
        self, statement: Prepared, job: Job, keys: list[str], owner: int, values: dict[str, Any]
    ) -> bool:
        values |= {f"processing_jobs_{name}": getattr(job, name) for name in JOB_COLUMNS}
        text = detections_text(job)
        try:
            await self._database.run(
                statement, keys=keys, owner=owner, key_count=len(keys), detections=text, **values
            )
        except (asyncpg.DivisionByZeroError, asyncpg.ForeignKeyViolationError):
            return False
        return True
