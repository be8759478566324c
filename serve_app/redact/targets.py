"""Putting a masked picture in its place: whole, or not at all."""

import asyncio
import os
import uuid
from pathlib import Path
from typing import Final, Protocol

from deployments.types import OutputFormat
from serve_app.redact.places import Place, Prefix
from serve_app.redact.zip_target import working_folder
from serve_app.storage.objects import ObjectStore
from serve_app.storage.options import StorageOptions

OWN_FOLDER: Final = ".redact"
"""In a target folder: its lock, and files that are not whole yet."""


class Target(Protocol):
    """A place for masked pictures."""

    async def open(self) -> None:
        """Make it ready."""
        ...

    async def close(self) -> None:
        """Give back what was opened."""
        ...

    async def put(self, name: str, data: bytes, image_format: OutputFormat) -> None:
        """Put a picture in place; raises OSError or StorageUnavailableError."""
        ...


def make_target(place: Place, storage: StorageOptions) -> Target:
    """For a place; `storage` says how to reach its bucket."""
    if isinstance(place, Prefix):
        return BucketTarget(storage, place.prefix)
    return FolderTarget(working_folder(place))


class FolderTarget:
    """Files appear under their names when they are complete and on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def open(self) -> None:
        """See Target."""

    async def close(self) -> None:
        """See Target."""

    async def put(self, name: str, data: bytes, image_format: OutputFormat) -> None:
        """See Target."""
        await asyncio.to_thread(write_whole, self._path, name, data)


def write_whole(folder: Path, name: str, data: bytes) -> None:
    """Write `name` in a target folder, replacing what is there at once."""
    unfinished = folder / OWN_FOLDER / "unfinished" / uuid.uuid4().hex
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished.replace(place)


class BucketTarget:
    """Objects below a prefix; S3 shows an object when all of it is there."""

    def __init__(self, storage: StorageOptions, prefix: str) -> None:
        self._objects = ObjectStore(storage)
        self._prefix = prefix

    async def open(self) -> None:
        """See Target."""
        await self._objects.open()

    async def close(self) -> None:
        """See Target."""
        await self._objects.close()

    async def put(self, name: str, data: bytes, image_format: OutputFormat) -> None:
        """See Target."""
        await self._objects.put(self._prefix + name, data, f"image/{image_format}")
