"""What routes of stored images and jobs share: the storage tier as they see it, and what is not there."""

from typing import Annotated, Protocol
from uuid import UUID

from fastapi import Depends, Request

from serve_app.access import TierOffError
from serve_app.repositories.images import ImageRepository, StoredImage
from serve_app.repositories.jobs import JobRepository, StoredJob
from serve_app.repositories.statistics import StatisticsRepository
from serve_app.schemas.pages import NotFoundError


class StoredObjects(Protocol):
    """The part of the object store that these routes need."""

    async def get(self, key: str) -> bytes | None:
        """An object; None when there is none of this key."""
        ...

    async def signed_url(
        self,
        key: str,
        *,
        filename: str | None = None,
        content_type: str | None = None,
        is_public: bool = False,
    ) -> str:
        """A link to an object that ends soon; `filename` makes a browser save it under that name."""
        ...


class StorageParts(Protocol):
    """The storage tier as these routes see it."""

    @property
    def images(self) -> ImageRepository:
        """Questions about images."""
        ...

    @property
    def jobs(self) -> JobRepository:
        """Questions about jobs."""
        ...

    @property
    def statistics(self) -> StatisticsRepository:
        """Totals."""
        ...

    @property
    def objects(self) -> StoredObjects:
        """The object store."""
        ...

    async def delete_image(self, image_id: UUID) -> bool:
        """Delete an image, its jobs and its objects; whether there was such an image."""
        ...


def storage_of(request: Request) -> StorageParts:
    """The storage tier.

    Raises:
        TierOffError: There is none.
    """
    storage: StorageParts | None = request.app.state.storage
    if storage is None:
        raise TierOffError("nothing is stored here: FACE_API_STORAGE_ENABLED is off")
    return storage


Storage = Annotated[StorageParts, Depends(storage_of)]


async def known_image(storage: StorageParts, image_id: UUID) -> StoredImage:
    """An image.

    Raises:
        NotFoundError: There is none of this id.
    """
    image = await storage.images.get(image_id)
    if image is None:
        raise unknown_image(image_id)
    return image


async def known_job(storage: StorageParts, job_id: UUID) -> StoredJob:
    """A job.

    Raises:
        NotFoundError: There is none of this id.
    """
    job = await storage.jobs.get(job_id)
    if job is None:
        raise unknown_job(job_id)
    return job


def unknown_image(image_id: UUID) -> NotFoundError:
    """What is said of an id without an image."""
    return NotFoundError(f"there is no image {image_id}")


def unknown_job(job_id: UUID) -> NotFoundError:
    """What is said of an id without a job."""
    return NotFoundError(f"there is no job {job_id}")
