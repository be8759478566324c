"""What was done, kept in the target so that whatever ends a run, the next one goes on.

`redaction.json` says what the target is made with and marks it as ours. Lines of JSON follow, one for each
source that was done; of several for one source the last counts. A folder has them in `manifest.jsonl`; a
bucket, where nothing can be appended, in `manifest/000001.jsonl` and so on, each written whole.
"""

import asyncio
import fcntl
import json
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final, Protocol

from serve_app.redact.errors import PlaceError
from serve_app.redact.names import HEADER, LINES
from serve_app.redact.places import Place, Prefix
from serve_app.redact.records import Record, Redaction
from serve_app.redact.targets import OWN_FOLDER, write_whole
from serve_app.redact.zip_target import working_folder
from serve_app.storage.objects import ObjectStore
from serve_app.storage.options import StorageOptions

PARTS: Final = "manifest/"
JSON_LINES: Final = "application/x-ndjson"


class Manifest(Protocol):
    """A target's manifest, for one run at a time."""

    async def open(self, redaction: Redaction, defaults: dict[str, Any]) -> None:
        """Claim the target.

        Args:
            redaction: What it is, or is to be, made with.
            defaults: Parameters of before: those that came later were not asked for.

        Raises:
            PlaceError: It holds something else, was made otherwise, or another run is at it.
        """
        ...

    async def close(self) -> None:
        """Give it free."""
        ...

    def lines(self) -> AsyncIterator[dict[str, Any]]:
        """What earlier runs did, in their order."""
        ...

    def outputs(self) -> AsyncIterator[tuple[str, int]]:
        """Name and size of every file in the target."""
        ...

    async def add(self, records: Sequence[Record]) -> None:
        """Write records; they are there for good when this returns."""
        ...


def make_manifest(place: Place, storage: StorageOptions) -> Manifest:
    """Of a target; `storage` says how to reach its bucket."""
    if isinstance(place, Prefix):
        return BucketManifest(storage, place)
    return FolderManifest(working_folder(place))


def check_header(found: bytes, redaction: Redaction, defaults: dict[str, Any], target: str) -> None:
    """Refuse to mix: PlaceError when the target was made with something else."""
    try:
        header = json.loads(found)
        parameters = {**defaults, **header["parameters"]}
        same = {"source": header["source"], "model": header["model"], "parameters": parameters}
    except (ValueError, TypeError, KeyError) as error:
        raise PlaceError(f"{HEADER} in {target} is none of ours; choose another TARGET") from error
    asked = asdict(redaction)
    for name in ("source", "model"):
        if same[name] != asked[name]:
            raise _otherwise(target, name, same[name], asked[name])
    for name, value in asked["parameters"].items():
        if parameters.get(name) != value:
            raise _otherwise(target, name, parameters.get(name), value)


def _otherwise(target: str, name: str, before: object, now: object) -> PlaceError:
    return PlaceError(
        f"{target} was begun with {name} {before}, not {now}: ask for the same, or choose another TARGET"
    )


def _header(redaction: Redaction) -> bytes:
    return json.dumps(asdict(redaction), indent=1).encode()


class FolderManifest:
    """Of a folder. Lines are appended and forced to the disk; one that a crash cut short is cut off."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._redaction: Redaction
        self._lock: IO[bytes] | None = None
        self._file: IO[bytes] | None = None

    async def open(self, redaction: Redaction, defaults: dict[str, Any]) -> None:
        """See Manifest."""
        self._redaction = redaction
        try:
            await asyncio.to_thread(self._open, defaults)
        except OSError as error:
            raise PlaceError(f"{self._path} cannot be written to ({error.strerror})") from error

    def _open(self, defaults: dict[str, Any]) -> None:
        header = self._path / HEADER
        if self._path.exists() and not header.exists():
            others = [path for path in self._path.iterdir() if path.name != OWN_FOLDER]
            if others:
                raise PlaceError(
                    f"{self._path} holds {others[0].name}, which redact did not put there: "
                    "choose an empty TARGET"
                )
        own = self._path / OWN_FOLDER
        own.mkdir(parents=True, exist_ok=True)
        self._lock = (own / "lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PlaceError(f"another redact writes to {self._path}; wait for its end") from error
        shutil.rmtree(own / "unfinished", ignore_errors=True)
        if header.exists():
            check_header(header.read_bytes(), self._redaction, defaults, str(self._path))
        else:
            write_whole(self._path, HEADER, _header(self._redaction))
        self._file = (self._path / LINES).open("a+b")
        _cut_after_last_line(self._file)

    async def close(self) -> None:
        """See Manifest."""
        for file in (self._file, self._lock):
            if file is not None:
                file.close()

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """See Manifest."""
        with (self._path / LINES).open("rb") as file:
            for line in file:
                yield json.loads(line)

    async def outputs(self) -> AsyncIterator[tuple[str, int]]:
        """See Manifest."""
        for folder, _, names in os.walk(self._path):
            for name in names:
                path = Path(folder, name)
                yield path.relative_to(self._path).as_posix(), os.stat(path).st_size  # noqa: PTH116 - nothing else waits

    async def add(self, records: Sequence[Record]) -> None:
        """See Manifest."""
        lines = "".join(f"{self._redaction.line(record)}\n" for record in records)
        if self._file is None:
            raise ValueError("open it first")
        await asyncio.to_thread(_append, self._file, lines.encode())


def _append(file: IO[bytes], data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def _cut_after_last_line(file: IO[bytes]) -> None:
    size = end = file.seek(0, os.SEEK_END)
    step = 64 * 1024
    while end > 0:
        start = max(0, end - step)
        file.seek(start)
        at = file.read(end - start).rfind(b"\n")
        if at >= 0:
            end = start + at + 1
            break
        end = start
    if end < size:
        file.truncate(end)


class BucketManifest:
    """Of a prefix. Nothing can be locked there: two runs at once do the same work twice."""

    def __init__(self, storage: StorageOptions, place: Prefix) -> None:
        self._objects = ObjectStore(storage)
        self._place = place
        self._redaction: Redaction
        self._parts = 0

    async def open(self, redaction: Redaction, defaults: dict[str, Any]) -> None:
        """See Manifest."""
        self._redaction = redaction
        await self._objects.open()
        header = await self._objects.get(self._place.prefix + HEADER)
        if header is not None:
            check_header(header, redaction, defaults, str(self._place))
        else:
            async for found in self._objects.list(self._place.prefix):
                raise PlaceError(
                    f"{self._place} holds {found.key}, which redact did not put there: "
                    "choose another prefix as TARGET"
                )
            await self._put(HEADER, _header(redaction), "application/json")

    async def close(self) -> None:
        """See Manifest."""
        await self._objects.close()

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """See Manifest."""
        keys = [found.key async for found in self._objects.list(f"{self._place.prefix}{PARTS}")]
        for key in sorted(keys):
            self._parts = max(self._parts, int(key.rpartition("/")[2].partition(".")[0]))
            for line in (await self._objects.get(key) or b"").splitlines():
                yield json.loads(line)

    async def outputs(self) -> AsyncIterator[tuple[str, int]]:
        """See Manifest."""
        async for found in self._objects.list(self._place.prefix):
            yield found.key.removeprefix(self._place.prefix), found.size_bytes

    async def add(self, records: Sequence[Record]) -> None:
        """See Manifest."""
        self._parts += 1
        lines = "".join(f"{self._redaction.line(record)}\n" for record in records)
        await self._put(f"{PARTS}{self._parts:06d}.jsonl", lines.encode(), JSON_LINES)

    async def _put(self, name: str, data: bytes, content_type: str) -> None:
        await self._objects.put(self._place.prefix + name, data, content_type)
