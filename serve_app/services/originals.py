"""Stored pictures, given back to whoever sent them: to be masked without a second upload."""

from typing import Protocol
from uuid import UUID

from serve_app.body import Upload
from serve_app.repositories.images import Original
from serve_app.schemas.pages import NotFoundError


class OriginalRows(Protocol):
    """The part of the images' repository that this needs."""

    async def original(self, image_id: UUID, key_id: UUID | None) -> Original | None:
        """Where the original of an image lies that this key sent."""
        ...


class ObjectReader(Protocol):
    """The part of the object store that this needs."""

    async def get(self, key: str) -> bytes | None:
        """An object; None when there is none of this key."""
        ...


async def stored_upload(
    image_id: UUID, key_id: UUID | None, images: OriginalRows, objects: ObjectReader
) -> Upload:
    """A stored picture as if it were sent once more.

    Args:
        image_id: Of an earlier answer.
        key_id: Of the caller; None while API keys are switched off.
        images: Which pictures there are.
        objects: Where they lie.

    Raises:
        NotFoundError: There is none of this id whose original was kept, or another key sent it: the answer
            does not tell which.
        DatabaseUnavailableError, StorageUnavailableError: Ask again a little later.
    """
    original = await images.original(image_id, key_id)
    data = None if original is None else await objects.get(original.s3_key)
    if original is None or data is None:
        raise NotFoundError(f"this API key has sent no picture {image_id} whose original is stored")
    return Upload(data, original.filename, image_id)
