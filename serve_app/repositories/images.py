"""Pictures that were sent, and where their originals are."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from serve_app.database import Database, Prepared
from serve_app.repositories.pages import ids_of_page
from serve_app.tables import images, processing_jobs


@dataclass(frozen=True, slots=True)
class Image:
    """A picture to be noted."""

    id: UUID
    filename: str
    content_type: str
    size_bytes: int
    width: int  # pixels, upright
    height: int
    s3_key: str | None  # None: the original is not kept
    key_id: UUID | None  # that sent it; None while API keys are off


@dataclass(frozen=True, slots=True)
class StoredImage(Image):
    """A row, and what became of it."""

    created_at: datetime
    job_count: int
    processed_s3_key: str | None  # of the latest result that was kept


@dataclass(frozen=True, slots=True)
class Original:
    """An upload that was kept."""

    filename: str
    s3_key: str


INSERT: Final = Prepared(
    images.insert().values({field.name: sa.bindparam(f"new_{field.name}") for field in fields(Image)})
)


class ImageRepository:
    """Questions about images."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, image: Image) -> None:
        """A new row, made now."""
        await self._database.run(
            INSERT, **{f"new_{field.name}": getattr(image, field.name) for field in fields(image)}
        )

    async def get(self, image_id: UUID) -> StoredImage | None:
        """One image."""
        wanted = sa.select(images.c.id).where(images.c.id == image_id)
        row = await self._database.fetch_one(_with_jobs(wanted))
        return row and _stored_image(row)

    async def original(self, image_id: UUID, key_id: UUID | None) -> Original | None:
        """Where the original of an image lies that this key sent; None when there is no such image."""
        query = sa.select(images.c.filename, images.c.s3_key).where(
            images.c.id == image_id,
            images.c.key_id.is_not_distinct_from(key_id),
            images.c.s3_key.is_not(None),
        )
        row = await self._database.fetch_one(query)
        return row and Original(row["filename"], row["s3_key"])

    async def page(self, offset: int, count: int, total: int) -> list[StoredImage]:
        """Images, newest first, of `total`. Ids come from the index alone, then the page's rows are read."""
        wanted = ids_of_page(images, offset, count, total)
        return [_stored_image(row) for row in await self._database.fetch_all(_with_jobs(wanted))]

    async def older_than(self, before: datetime, count: int) -> list[UUID]:
        """The oldest images made before a time, at most `count`."""
        query = (
            sa.select(images.c.id)
            .where(images.c.created_at < before)
            .order_by(images.c.created_at, images.c.id)
            .limit(count)
        )
        return [row["id"] for row in await self._database.fetch_all(query)]

    async def delete(self, image_id: UUID) -> list[str] | None:
        """Remove an image and its jobs; run it in a transaction.

        Returns:
            Keys of the objects nothing needs any more; None for an unknown id.
        """
        # The lock waits for jobs being added to this image; the next statement sees them.
        locked = sa.select(images.c.s3_key).where(images.c.id == image_id).with_for_update()
        image = await self._database.fetch_one(locked)
        if image is None:
            return None
        gone = images.delete().where(images.c.id == image_id).cte("gone")
        jobs = (
            processing_jobs.delete()
            .where(processing_jobs.c.image_id == image_id)
            .returning(processing_jobs.c.processed_s3_key)
            .cte("jobs")
        )
        query = sa.select(jobs.c.processed_s3_key).add_cte(gone)
        rows = await self._database.fetch_all(query)
        keys = [image["s3_key"], *(row["processed_s3_key"] for row in rows)]
        return [key for key in keys if key is not None]


def _with_jobs(wanted: sa.Select[tuple[UUID]]) -> sa.Select[Any]:
    """The images with these ids, newest first, each with its number of jobs and its latest result."""
    ids = wanted.subquery("wanted")
    mine = processing_jobs.c.image_id == images.c.id
    counted = sa.select(sa.func.count().label("job_count")).where(mine).lateral("counted")
    latest = (
        sa.select(processing_jobs.c.processed_s3_key)
        .where(mine, processing_jobs.c.processed_s3_key.is_not(None))
        .order_by(processing_jobs.c.created_at.desc(), processing_jobs.c.id.desc())
        .limit(1)
        .lateral("latest")
    )
    return (
        sa.select(images, counted.c.job_count, latest.c.processed_s3_key)
        .select_from(
            ids.join(images, images.c.id == ids.c.id).join(counted, sa.true()).outerjoin(latest, sa.true())
        )
        .order_by(images.c.created_at.desc(), images.c.id.desc())
    )


def _stored_image(row: Any) -> StoredImage:  # noqa: ANN401 - rows are not typed
    return StoredImage(*(row[field.name] for field in fields(StoredImage)))
