"""One picture's way: read, mask, put in place, and what is said of it. Knows no Ray."""

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from deployments.decoding.sniff import sniff
from deployments.errors import UnsupportedFormatError
from deployments.pipeline import LocalPipeline
from deployments.types import FacePipeline, MaskParams
from models.errors import FaceError, ModelDigestError
from models.resolve import resolve_model
from models.scrfd import Scrfd, ScrfdOptions
from models.types import DetectParams
from serve_app.redact.errors import UnreadableError
from serve_app.redact.names import is_usable, output_name
from serve_app.redact.places import Place, Prefix
from serve_app.redact.records import Entry, Record
from serve_app.redact.sources import Source, make_source
from serve_app.redact.targets import Target, make_target
from serve_app.storage.objects import StorageUnavailableError
from serve_app.storage.options import StorageOptions

TIMEOUT_S: Final = 300.0
AT_ONCE: Final = 4
"""Pictures of one worker on their way: some are read and written while one is in the session."""
PAUSES_S: Final = (1.0, 5.0)
"""Before a place that failed is asked again."""
OF_THE_FILE: Final = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL}
)
"""Errors of one file; any other says that the disk or the network is in trouble."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker needs to know. Travels to every machine."""

    source: Place
    target: Place
    storage: StorageOptions  # its bucket is that of neither place
    params: DetectParams
    masking: MaskParams
    scrfd: ScrfdOptions
    model_sha256: str
    max_pixels: int
    max_bytes: int


def storage_of(place: Place, storage: StorageOptions) -> StorageOptions:
    """How to reach a place's bucket, where it is in one."""
    return replace(storage, bucket=place.bucket) if isinstance(place, Prefix) else storage


@asynccontextmanager
async def open_redactor(plan: Plan) -> AsyncIterator["Redactor"]:
    """A worker with its model and its connections.

    Raises:
        ModelError: The weights are not there, or others than the command's.
        PlaceError: The source is not there.
    """
    pipeline = await asyncio.to_thread(load_pipeline, plan)
    source = make_source(plan.source, storage_of(plan.source, plan.storage))
    target = make_target(plan.target, storage_of(plan.target, plan.storage))
    await source.open()
    await target.open()
    try:
        yield Redactor(plan, pipeline, source, target)
    finally:
        await target.close()
        await source.close()


def load_pipeline(plan: Plan) -> LocalPipeline:
    """The stages in this process; ModelDigestError when these are not the weights the command found."""
    found = resolve_model(plan.scrfd.source)
    if found.digest != plan.model_sha256:
        raise ModelDigestError(f"{found.path} holds other weights than the machine where redact was started")
    return LocalPipeline(Scrfd.load(plan.scrfd), plan.max_pixels)


class Redactor:
    """Does what the plan says to one entry after the other."""

    def __init__(self, plan: Plan, pipeline: FacePipeline, source: Source, target: Target) -> None:
        self._plan = plan
        self._pipeline = pipeline
        self._source = source
        self._target = target
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._alone = asyncio.Lock()

    async def redact_all(self, entries: Sequence[Entry]) -> list[Record]:
        """What was done to each; never raises for one of them."""
        return list(await asyncio.gather(*(self._in_turn(entry) for entry in entries)))

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """While nothing else is at work in this process."""
        async with self._alone:
            for _ in range(AT_ONCE):
                await self._turn.acquire()
            try:
                yield
            finally:
                for _ in range(AT_ONCE):
                    self._turn.release()

    async def _in_turn(self, entry: Entry) -> Record:
        async with self._turn:
            return await self.redact(entry)

    async def redact(self, entry: Entry) -> Record:
        """What was done to one entry."""
        for pause_s in (*PAUSES_S, None):
            try:
                return await self._redact(entry)
            except (StorageUnavailableError, OSError) as error:
                cause = error.__cause__ or error
                if isinstance(cause, OSError) and cause.errno in OF_THE_FILE:
                    return failed(entry, cause.strerror or str(cause))
                if pause_s is None:
                    return failed(entry, f"{type(cause).__name__}: {cause}", is_trouble=True)
                await asyncio.sleep(pause_s)
            except FaceError as error:
                return failed(entry, str(error))
            except Exception as error:
                return failed(entry, f"{type(error).__name__}: {error}")
        raise AssertionError("unreachable")

    async def _redact(self, entry: Entry) -> Record:
        plan = self._plan
        if not is_usable(entry.name):
            return failed(entry, "its name is no relative path: absolute, with `..`, or with empty parts")
        try:
            data = await self._source.read(entry.name, self._admit)
        except UnsupportedFormatError as error:
            return _record(entry, status="skipped", reason=str(error))
        sha256 = await asyncio.to_thread(_sha256, data)
        try:
            done = await self._pipeline.mask(data, plan.params, plan.masking, TIMEOUT_S)
        except FaceError as error:
            return failed(entry, str(error), sha256=sha256)
        inferred = done.analysed.inferred
        name, masked = output_name(entry.name, plan.masking.format), done.masked.data
        await self._target.put(name, masked, plan.masking.format)
        return _record(
            entry,
            status="masked",
            sha256=sha256,
            faces=len(inferred.detections.boxes),
            uncertain_faces=None if inferred.uncertain is None else len(inferred.uncertain.boxes),
            residual_faces=done.residual_faces,
            faces_skipped=done.faces_skipped,
            output=name,
            output_bytes=len(masked),
            output_sha256=await asyncio.to_thread(_sha256, masked),
        )

    def _admit(self, size: int, head: bytes) -> None:
        """Judge a file by its beginning: UnsupportedFormatError when it is no picture."""
        sniff(head)
        if size > self._plan.max_bytes:
            raise UnreadableError(
                f"it has {size} bytes, more than FACE_API_MAX_UPLOAD_BYTES={self._plan.max_bytes}"
            )


def failed(entry: Entry, reason: str, *, sha256: str | None = None, is_trouble: bool = False) -> Record:
    """The record of what could not be done."""
    return _record(entry, status="failed", reason=reason, sha256=sha256, is_trouble=is_trouble)


def _record(entry: Entry, **facts: Any) -> Record:  # noqa: ANN401 - fields of Record
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Record(entry.name, entry.version, entry.size_bytes, done_at=now, **facts)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
