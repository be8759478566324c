"""The pictures of a batch, some at once, each through admission and the stages as if it had come alone."""

import asyncio
import math
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from serve_app.admission import Admission, Timed
from serve_app.batch.items import Item
from serve_app.body import EmptyUploadError, Upload
from serve_app.errors import failure_of
from serve_app.metrics import BATCH_ITEMS, FACES, STAGE_SECONDS
from serve_app.retry_later import RetryLaterError
from serve_app.schemas.batch import BatchQuery
from serve_app.services.processing import Detected, Hidden, Processing
from serve_app.stage_times import stage_times

AT_ONCE: Final = 8
"""Pictures of one batch in the stages: they keep every stage busy, and let others' requests in between."""
OVERLOADED: Final = 503


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one picture of a batch."""

    index: int
    filename: str | None
    status: int
    done: Timed[Detected | Hidden] | None = None  # None where it failed
    detail: str | None = None
    retry_after_s: int | None = None


class BatchWork:
    """Does what one batch asks for."""

    def __init__(
        self,
        processing: Processing,
        admission: Admission,
        query: BatchQuery,
        key_id: UUID | None,
        request_id: str,
    ) -> None:
        self._processing = processing
        self._admission = admission
        self._query = query
        self._key_id = key_id
        self._request_id = request_id
        self._params = query.detect_params()
        self._masking = query.mask_params()

    async def outcomes(
        self, items: list[Item], allowed: int, refusal: RetryLaterError | None
    ) -> AsyncGenerator[Outcome]:
        """Every picture's outcome as it is done; what is not asked for any more is not begun.

        At most AT_ONCE pictures are at work or waiting to be taken, so memory does not grow with the batch.

        Args:
            items: Emptied from its front, so that each upload goes with its outcome.
            allowed: The first so many are within the caller's rate limit.
            refusal: What the others fail with.
        """
        running: set[asyncio.Task[Outcome]] = set()
        try:
            while items or running:
                while items and len(running) < AT_ONCE:
                    item = items.pop(0)
                    error = None if item.index < allowed else refusal
                    running.add(asyncio.create_task(self._outcome(item, error)))
                    del item
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for outcome in _results(done):
                    BATCH_ITEMS.inc(self._query.task, str(outcome.status))
                    yield outcome
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _outcome(self, item: Item, refusal: RetryLaterError | None) -> Outcome:
        try:
            if refusal is not None:
                raise refusal
            done = await self._admission.run_item(lambda: _read(item), self._work, self._query.detail)
        except Exception as error:
            status, detail = failure_of(error, self._request_id)
            return Outcome(item.index, item.filename, status, None, detail, _retry_after_s(status, error))
        _note(done)
        return Outcome(item.index, item.filename, 200, done)

    async def _work(self, upload: Upload, left_s: float) -> Detected | Hidden:
        keep, key_id = self._query.store, self._key_id
        if self._query.task == "detect":
            return await self._processing.detect(upload, self._params, keep, key_id, left_s)
        return await self._processing.mask(upload, self._params, self._masking, keep, key_id, left_s)


def _results(done: Iterable[asyncio.Task[Outcome]]) -> list[Outcome]:
    return sorted((task.result() for task in done), key=lambda outcome: outcome.index)


async def _read(item: Item) -> Upload:
    data = await asyncio.to_thread(item.read)
    if not data:
        raise EmptyUploadError("the picture is empty")
    return Upload(data, item.filename)


def _note(done: Timed[Detected | Hidden]) -> None:
    """Count it as a request of its own is counted."""
    value = done.value
    result = value.anonymised if isinstance(value, Hidden) else value.analysed
    for stage, milliseconds in stage_times(result, value.recorded, done.total_ms).items():
        STAGE_SECONDS.observe(milliseconds / 1e3, stage)
    FACES.inc(by=len(value.faces.boxes))


def _retry_after_s(status: int, error: Exception) -> int | None:
    if isinstance(error, RetryLaterError):
        return max(1, math.ceil(error.retry_after_s))
    return 1 if status == OVERLOADED else None
