"""What has to be done behind the answers: remove garbage, forget old pictures, look for orphans."""

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from serve_app.database import Database
from serve_app.metrics import CLEANUP, CLEANUP_OLDEST, CLEANUP_TASKS, FORGOTTEN, STORAGE_UP
from serve_app.repositories.cleanup import CleanupRepository
from serve_app.repositories.images import ImageRepository
from serve_app.services.deletion import delete_image, remove_objects
from serve_app.services.key_events import OWNER_CLASS
from serve_app.storage.names import PREFIXES
from serve_app.storage.objects import ObjectStore

BATCH: Final = 100
ORPHAN_AGE: Final = timedelta(days=1)
"""Younger objects may belong to an upload that is under way."""

logger = logging.getLogger("face_api.storage")


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass did."""

    removed: int  # objects
    failed: int  # objects that will be tried again
    forgotten: int  # images past their retention


@dataclass(frozen=True, slots=True)
class Orphan:
    """An object in the bucket that no row knows."""

    key: str
    size_bytes: int
    modified_at: datetime


class Maintenance:
    """One pass at a time for a database: replicas and commands share the work through row locks."""

    def __init__(
        self,
        database: Database,
        images: ImageRepository,
        cleanup: CleanupRepository,
        objects: ObjectStore,
        retention_days: float | None,
    ) -> None:
        self._database = database
        self._images = images
        self._cleanup = cleanup
        self._objects = objects
        self._retention_days = retention_days

    async def run_once(self, *, at_once: bool = False) -> Pass:
        """Forget what is too old, then remove every object whose task is due.

        Args:
            at_once: Also those that failed before and wait for their next turn.
        """
        if at_once:
            await self._cleanup.retry_now()
        forgotten = await self._forget()
        removed = failed = 0
        while tasks := await self._cleanup.claim(BATCH, OWNER_CLASS):
            gone = await remove_objects(tasks, self._cleanup, self._objects)
            removed, failed = removed + gone, failed + len(tasks) - gone
        CLEANUP.inc("removed", by=removed)
        CLEANUP.inc("failed", by=failed)
        FORGOTTEN.inc(by=forgotten)
        if removed or failed or forgotten:
            fields = {"event": "maintenance", "removed": removed, "failed": failed, "forgotten": forgotten}
            logger.info(json.dumps(fields))
        return Pass(removed, failed, forgotten)

    async def look(self) -> None:
        """Show in the metrics what waits, and whether the bucket answers."""
        STORAGE_UP.set(await self._objects.is_ready())
        backlog = await self._cleanup.count_and_oldest()
        CLEANUP_TASKS.set(backlog.count)
        CLEANUP_OLDEST.set(backlog.oldest_s)

    async def audit(self, *, fix: bool) -> list[Orphan]:
        """Objects older than a day that no row knows; `fix` removes them."""
        oldest = datetime.now(UTC) - ORPHAN_AGE
        orphans: list[Orphan] = []
        for prefix in PREFIXES:
            page: list[Orphan] = []
            async for item in self._objects.list(prefix):
                if item.modified_at < oldest:
                    page.append(Orphan(item.key, item.size_bytes, item.modified_at))
                if len(page) == BATCH:
                    orphans += await self._unknown(page)
                    page = []
            orphans += await self._unknown(page)
        if fix and orphans:
            await self._cleanup.add([orphan.key for orphan in orphans], None, 0.0)
            await self.run_once(at_once=True)
        return orphans

    async def _unknown(self, page: list[Orphan]) -> list[Orphan]:
        known = await self._cleanup.known_keys([orphan.key for orphan in page])
        return [orphan for orphan in page if orphan.key not in known]

    async def _forget(self) -> int:
        if self._retention_days is None:
            return 0
        before = datetime.now(UTC) - timedelta(days=self._retention_days)
        forgotten = 0
        while ids := await self._images.older_than(before, BATCH):
            for image_id in ids:
                forgotten += await delete_image(
                    image_id, self._database, self._images, self._cleanup, self._objects
                )
        return forgotten
