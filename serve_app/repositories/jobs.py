"""What was done to pictures, and where the results are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from deployments.types import MaskMethod, OutputFormat
from serve_app.database import Database, Prepared
from serve_app.repositories.pages import ids_of_page
from serve_app.tables import processing_jobs

JobType = Literal["detect", "mask"]


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a new job and a stored one have in common."""

    id: UUID
    image_id: UUID
    job_type: JobType
    status: str
    confidence_threshold: float
    nms_threshold: float
    blur_method: MaskMethod | None  # this and the next four: None on detect
    blur_strength: int | None
    padding: float | None
    output_format: OutputFormat | None
    output_quality: int | None
    face_count: int
    processed_s3_key: str | None  # None: no result is kept
    processed_size_bytes: int | None
    inference_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True)
class Job(JobFacts):
    """A job to be noted."""

    detections: Sequence[Mapping[str, Any]]  # as the answer lists them


@dataclass(frozen=True, slots=True)
class StoredJob(JobFacts):
    """A row, without its detections: they may be many."""

    created_at: datetime


INSERT: Final = Prepared(
    processing_jobs.insert().values(
        {
            **{field.name: sa.bindparam(f"new_{field.name}") for field in fields(JobFacts)},
            "detections": sa.cast(sa.bindparam("new_detections", type_=sa.Text), JSONB),
        }
    )
)
COLUMNS = [processing_jobs.c[field.name] for field in fields(StoredJob)]


class JobRepository:
    """Questions about jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, job: Job) -> None:
        """A new row, made now."""
        values = {f"new_{field.name}": getattr(job, field.name) for field in fields(JobFacts)}
        await self._database.run(INSERT, new_detections=detections_text(job), **values)

    async def get(self, job_id: UUID) -> StoredJob | None:
        """One job, without its detections."""
        row = await self._database.fetch_one(sa.select(*COLUMNS).where(processing_jobs.c.id == job_id))
        return row and _stored_job(row)

    async def get_with_detections(self, job_id: UUID) -> tuple[StoredJob, list[dict[str, Any]]] | None:
        """One job, and the faces as its answer listed them."""
        text = sa.cast(processing_jobs.c.detections, sa.Text).label("detections")
        row = await self._database.fetch_one(sa.select(*COLUMNS, text).where(processing_jobs.c.id == job_id))
        return row and (_stored_job(row), json.loads(row["detections"]))

    async def delete(self, job_id: UUID) -> None:
        """Remove a job, if it is there; its result stays for cleanup."""
        await self._database.execute(processing_jobs.delete().where(processing_jobs.c.id == job_id))

    async def of_image(self, image_id: UUID) -> list[StoredJob]:
        """The jobs of an image, newest first."""
        query = (
            sa.select(*COLUMNS)
            .where(processing_jobs.c.image_id == image_id)
            .order_by(processing_jobs.c.created_at.desc(), processing_jobs.c.id.desc())
        )
        return [_stored_job(row) for row in await self._database.fetch_all(query)]

    async def page(
        self,
        offset: int,
        count: int,
        total: int,
        job_type: JobType | None = None,
        method: MaskMethod | None = None,
    ) -> list[StoredJob]:
        """Jobs, newest first, of `total` of this type and method.

        Ids come from an index alone, then the page's rows are read.
        """
        table = processing_jobs
        if job_type == "detect" and method is not None:
            return []  # no index would find out quickly
        wanted = ids_of_page(table, offset, count, total)
        if method is not None:
            wanted = wanted.where(table.c.blur_method == method)  # mask jobs all
        elif job_type is not None:
            wanted = wanted.where(table.c.job_type == job_type)
        ids = wanted.subquery("wanted")
        query = (
            sa.select(*COLUMNS)
            .join(ids, ids.c.id == table.c.id)
            .order_by(table.c.created_at.desc(), table.c.id.desc())
        )
        return [_stored_job(row) for row in await self._database.fetch_all(query)]


def detections_text(job: Job) -> str:
    """The faces as they lie in the database."""
    return json.dumps(job.detections, allow_nan=False)


def _stored_job(row: Any) -> StoredJob:  # noqa: ANN401 - rows are not typed
    return StoredJob(*(row[field.name] for field in fields(StoredJob)))
