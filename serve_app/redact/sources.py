"""Reading a source: what there is, and one file whole once its beginning was judged."""

import asyncio
import os
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

from serve_app.batch.archive import BROKEN, ENCRYPTED, METHODS
from serve_app.redact.errors import PlaceError, UnreadableError
from serve_app.redact.places import Folder, Place, ZipFile
from serve_app.redact.records import Entry
from serve_app.storage.objects import ObjectStore
from serve_app.storage.options import StorageOptions

HEAD_BYTES: Final = 4096
LIST_STEP: Final = 1000

Admit = Callable[[int, bytes], None]
"""Sees a file's size and first bytes, and raises when the rest is not to be read."""


class Source(Protocol):
    """A place with files."""

    async def open(self) -> None:
        """Make it ready; raises PlaceError when it is not there."""
        ...

    async def close(self) -> None:
        """Give back what was opened."""
        ...

    def list(self) -> AsyncIterator[Entry]:
        """Every file, in any order."""
        ...

    async def read(self, name: str, admit: Admit) -> bytes:
        """A file whole; raises UnreadableError, OSError, StorageUnavailableError, or what `admit` does."""
        ...


def make_source(place: Place, storage: StorageOptions) -> Source:
    """For a place; `storage` says how to reach its bucket."""
    if isinstance(place, Folder):
        return FolderSource(place.path)
    if isinstance(place, ZipFile):
        return ZipSource(place.path)
    return BucketSource(storage, place.prefix)


class FolderSource:
    """Every regular file below a folder; links to folders are not followed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def open(self) -> None:
        """See Source."""
        if not await asyncio.to_thread(self._path.is_dir):
            raise PlaceError(f"there is no folder {self._path}")

    async def close(self) -> None:
        """See Source."""

    async def list(self) -> AsyncIterator[Entry]:
        """See Source."""
        for entry in _files(str(self._path), ""):
            yield entry

    async def read(self, name: str, admit: Admit) -> bytes:
        """See Source."""
        return await asyncio.to_thread(self._read, name, admit)

    def _read(self, name: str, admit: Admit) -> bytes:
        with (self._path / name).open("rb") as file:
            size, head = os.fstat(file.fileno()).st_size, file.read(HEAD_BYTES)
            admit(size, head)
            return head + file.read(max(0, size - len(head)))


def _files(folder: str, prefix: str) -> Iterator[Entry]:
    with os.scandir(folder) as found:
        for item in sorted(found, key=lambda item: item.name):
            if item.is_dir(follow_symlinks=False):
                yield from _files(item.path, f"{prefix}{item.name}/")
            elif item.is_file():
                facts = item.stat()
                yield Entry(f"{prefix}{item.name}", facts.st_size, str(facts.st_mtime_ns))


class ZipSource:
    """The files of a zip."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zip: zipfile.ZipFile

    async def open(self) -> None:
        """See Source."""
        try:
            self._zip = await asyncio.to_thread(zipfile.ZipFile, self._path)
        except (*BROKEN, OSError) as error:
            raise PlaceError(f"{self._path} is no zip that can be read ({error})") from error

    async def close(self) -> None:
        """See Source."""
        self._zip.close()

    async def list(self) -> AsyncIterator[Entry]:
        """See Source."""
        seen: set[str] = set()
        for entry in self._zip.infolist():
            if entry.is_dir():
                continue
            if entry.filename in seen:
                raise PlaceError(f"{self._path} holds two files called {entry.filename}: unpack it first")
            seen.add(entry.filename)
            yield Entry(entry.filename, entry.file_size, f"{entry.CRC:08x}")

    async def read(self, name: str, admit: Admit) -> bytes:
        """See Source."""
        return await asyncio.to_thread(self._read, name, admit)

    def _read(self, name: str, admit: Admit) -> bytes:
        try:
            entry = self._zip.getinfo(name)
            if entry.flag_bits & ENCRYPTED or entry.compress_type not in METHODS:
                raise UnreadableError("it is encrypted, or packed in another way than stored or deflated")
            with self._zip.open(entry) as file:
                head = file.read(min(HEAD_BYTES, entry.file_size))
                admit(entry.file_size, head)
                return head + file.read(entry.file_size - len(head))
        except (*BROKEN, KeyError) as error:
            raise UnreadableError("it is damaged in the zip, or gone") from error


class BucketSource:
    """The objects below a prefix."""

    def __init__(self, storage: StorageOptions, prefix: str) -> None:
        self._objects = ObjectStore(storage)
        self._prefix = prefix

    async def open(self) -> None:
        """See Source."""
        await self._objects.open()

    async def close(self) -> None:
        """See Source."""
        await self._objects.close()

    async def list(self) -> AsyncIterator[Entry]:
        """See Source."""
        async for found in self._objects.list(self._prefix):
            if not found.key.endswith("/"):  # what consoles make to show an empty folder
                version = f"{found.etag} {found.modified_at.isoformat()}"  # some servers' ETags never change
                yield Entry(found.key.removeprefix(self._prefix), found.size_bytes, version)

    async def read(self, name: str, admit: Admit) -> bytes:
        """See Source."""
        data = await self._objects.get_if(self._prefix + name, admit)
        if data is None:
            raise UnreadableError("it is gone")
        return data
