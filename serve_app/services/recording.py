"""Keeps what was processed: an id in an answer means that all of it is stored.

Before an object is uploaded, a cleanup task for its key is written. One statement then adds the rows and
takes those tasks back. Whatever ends in between (a time-out, an error, `kill -9`) leaves the tasks, and
maintenance removes the objects.
"""

import asyncio
import json
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID, uuid4

from deployments.decoding.sniff import sniff
from deployments.errors import UnsupportedFormatError
from deployments.types import ImageInfo
from models.errors import FaceError
from serve_app.body import Upload
from serve_app.database import Database
from serve_app.metrics import STORAGE_FAILURES, STORED, STORING
from serve_app.repositories.cleanup import CleanupRepository
from serve_app.repositories.images import Image, ImageRepository
from serve_app.repositories.jobs import Job, JobRepository
from serve_app.repositories.records import RecordRepository
from serve_app.storage.names import original_key, processed_key, safe_filename
from serve_app.storage.objects import ObjectStore

Keep = Literal["none", "result", "both"]

INTENT_S: Final = 600.0
"""After this long an upload that nobody finished is taken back, even if its replica lives."""
STOP_TIMEOUT_S: Final = 3.0

MEDIA_TYPES: Final = {"heif": "image/heic"}

logger = logging.getLogger("face_api.storage")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What an answer says of storage."""

    image_id: UUID | None
    job_id: UUID | None
    storage_ms: float | None  # that the answer waited for it; None when nothing was to be stored


NOTHING: Final = Recorded(None, None, None)


@dataclass(frozen=True, slots=True)
class Result:
    """A masked picture to keep."""

    data: bytes
    format: str  # jpeg, png or webp


class TakenBackError(FaceError):
    """Cleanup was quicker: the upload counted as abandoned."""


class Recording:
    """One request's way into storage. Begun before its picture is decoded, so that the upload overlaps."""

    def __init__(
        self,
        recorder: "Recorder",
        upload: Upload,
        keep: Keep,
        result_format: str | None,
        key_id: UUID | None,
    ) -> None:
        self.image_id, self.job_id = upload.image_id or uuid4(), uuid4()
        self._is_new = upload.image_id is None
        self._recorder = recorder
        self._upload = upload
        self._key_id = key_id
        self.filename = safe_filename(upload.filename, _format(upload.data))
        has_original = keep == "both" and self._is_new
        self.original_key = original_key(self.image_id, self.filename) if has_original else None
        self.result_key = (
            None if result_format is None else processed_key(self.image_id, self.job_id, result_format)
        )
        self._original = recorder.in_background(self._put_original())

    @property
    def keys(self) -> list[str]:
        """The objects this request makes."""
        return [key for key in (self.original_key, self.result_key) if key is not None]

    async def finish(self, info: ImageInfo, job: Job, result: Result | None) -> Recorded:
        """Store the rest and wait for it, at most so long as the settings say. Never fails."""
        started = time.perf_counter()
        storing = self._recorder.in_background(self._store(info, job, result))
        try:
            async with asyncio.timeout(self._recorder.wait_s):
                await asyncio.shield(storing)
        except BaseException as error:
            self._give_up(storing, error)
            if not isinstance(error, Exception):
                raise
            return Recorded(None, None, (time.perf_counter() - started) * 1e3)
        self._recorder.release_slot()
        STORED.inc()
        return Recorded(self.image_id, self.job_id, (time.perf_counter() - started) * 1e3)

    def abandon(self) -> None:
        """The request ended without a result: take the original back."""
        self._recorder.in_background(self._take_back([self._original]))

    async def _put_original(self) -> None:
        if self.keys:
            await self._recorder.cleanup.add(self.keys, self._recorder.owner, INTENT_S)
        if self.original_key is not None:
            content_type = _media_type(_format(self._upload.data))
            await self._recorder.objects.put(self.original_key, self._upload.data, content_type)

    async def _store(self, info: ImageInfo, job: Job, result: Result | None) -> None:
        recorder = self._recorder
        await self._original
        if result is not None and self.result_key is not None:
            await recorder.objects.put(self.result_key, result.data, _media_type(result.format))
        if not await self._keep_rows(info, job):
            raise TakenBackError("cleanup was quicker, or the image was deleted")

    async def _keep_rows(self, info: ImageInfo, job: Job) -> bool:
        recorder = self._recorder
        if not self._is_new:
            return await recorder.records.keep_job(job, self.keys, recorder.owner)
        image = Image(
            id=self.image_id,
            filename=self.filename,
            content_type=_media_type(info.format),
            size_bytes=info.size_bytes,
            width=info.width,
            height=info.height,
            s3_key=self.original_key,
            key_id=self._key_id,
        )
        return await recorder.records.keep(image, job, self.keys, recorder.owner)

    def _give_up(self, storing: "asyncio.Task[None]", error: BaseException) -> None:
        """Answer without ids. Uploads under way are let finish, so that none lands after its removal."""
        reason = type(error).__name__
        STORAGE_FAILURES.inc(reason)
        logger.warning(json.dumps({"event": "not stored", "image_id": str(self.image_id), "reason": reason}))
        self._recorder.in_background(self._take_back([self._original, storing]))

    async def _take_back(self, uploads: "list[asyncio.Task[None]]") -> None:
        """Once nothing is under way any more, remove rows that were written after all, and the objects."""
        recorder = self._recorder
        try:
            await asyncio.wait(uploads)
            async with recorder.database.transaction():
                if self._is_new:
                    await recorder.images.delete(self.image_id)
                else:
                    await recorder.jobs.delete(self.job_id)
                await recorder.cleanup.take_back(self.keys, recorder.owner)
                await recorder.cleanup.add(self.keys, None, 0.0)
        finally:
            recorder.release_slot()


class Recorder:
    """Bounds and begins the recordings of one ingress replica."""

    def __init__(
        self,
        database: Database,
        images: ImageRepository,
        jobs: JobRepository,
        records: RecordRepository,
        cleanup: CleanupRepository,
        objects: ObjectStore,
        *,
        owner: int,
        wait_s: float,
        most_in_flight: int,
    ) -> None:
        self.database = database
        self.images = images
        self.jobs = jobs
        self.records = records
        self.cleanup = cleanup
        self.objects = objects
        self.owner = owner  # number of the advisory lock this replica holds while it lives
        self.wait_s = wait_s
        self._most_in_flight = most_in_flight
        STORAGE_FAILURES.expect("busy")
        self._in_flight = 0
        self._background: set[asyncio.Task[None]] = set()

    def begin(
        self, upload: Upload, keep: Keep, result_format: str | None, key_id: UUID | None
    ) -> Recording | None:
        """Start storing a request's picture; None when it is not to be kept, or too many are being stored.

        Args:
            upload: As the client sent it; one that was taken from storage gets one more job.
            keep: `none`, `result` (the job, and the masked picture) or `both` (the original as well).
            result_format: Of the masked picture; None on detect.
            key_id: Of the caller.
        """
        if keep == "none":
            return None
        if self._in_flight >= self._most_in_flight:
            STORAGE_FAILURES.inc("busy")
            return None
        self._in_flight += 1
        STORING.set(self._in_flight)
        return Recording(self, upload, keep, result_format, key_id)

    def release_slot(self) -> None:
        """A recording has ended."""
        self._in_flight -= 1
        STORING.set(self._in_flight)

    def in_background(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run what an answer may not wait for."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        task.add_done_callback(_look_at)
        return task

    async def stop(self) -> None:
        """Let what is under way end for a while; cleanup takes the rest back once this replica is gone."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self._background and (left_s := deadline - time.monotonic()) > 0:
            await asyncio.wait(self._background, timeout=left_s)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)


def _format(data: bytes) -> str:
    try:
        return sniff(data)
    except UnsupportedFormatError:
        return "bin"


def _media_type(image_format: str) -> str:
    return MEDIA_TYPES.get(image_format, f"image/{image_format}")


def _look_at(task: "asyncio.Task[None]") -> None:
    """Errors were logged where they count; asyncio would print them again."""
    if not task.cancelled():
        task.exception()
