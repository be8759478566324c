"""Deleting a picture for good: the rows, the original and every result."""

import contextlib
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from serve_app.database import Database, DatabaseUnavailableError
from serve_app.repositories.cleanup import CleanupRepository, CleanupTask
from serve_app.repositories.images import ImageRepository


class ObjectRemover(Protocol):
    """The part of the object store that deletion needs."""

    async def delete(self, keys: list[str]) -> list[str]:
        """Remove objects; gives back the keys of those that could not be removed."""
        ...


async def delete_image(
    image_id: UUID,
    database: Database,
    images: ImageRepository,
    cleanup: CleanupRepository,
    objects: ObjectRemover,
) -> bool:
    """Delete an image with its jobs and try its objects at once; what fails stays queued.

    Returns:
        Whether there was such an image.

    Raises:
        DatabaseUnavailableError: The image is still there, unless only the answer was lost.
    """
    async with database.transaction():
        keys = await images.delete(image_id)
        if keys is None:
            return False
        await cleanup.add(keys, None, 0.0)
    with contextlib.suppress(DatabaseUnavailableError):  # the image is gone, and its tasks are due
        await remove_objects(await cleanup.claim_keys(keys), cleanup, objects)
    return True


async def remove_objects(
    tasks: Sequence[CleanupTask], cleanup: CleanupRepository, objects: ObjectRemover
) -> int:
    """Remove the objects of claimed tasks; those that cannot be removed are tried again later.

    Returns:
        How many objects are gone.
    """
    left = set(await objects.delete([task.s3_key for task in tasks])) if tasks else set()
    done = [task.id for task in tasks if task.s3_key not in left]
    failed = [task.id for task in tasks if task.s3_key in left]
    if done:
        await cleanup.done(done)
    if failed:
        await cleanup.failed(failed, "the object store did not remove it")
    return len(done)
