"""Maintenance as a Ray Serve deployment: one replica, which nobody calls."""

import asyncio
import json
import logging
from typing import Final

from ray import serve

from deployments.replica import HEALTH_CHECK_PERIOD_S, set_up_replica
from serve_app.database import DatabaseUnavailableError
from serve_app.settings import Settings
from serve_app.storage.objects import StorageUnavailableError
from serve_app.storage_tier import open_maintenance

EVERY_S: Final = 5.0

logger = logging.getLogger("face_api.storage")


@serve.deployment(health_check_period_s=HEALTH_CHECK_PERIOD_S)
class MaintenanceWorker:
    """Runs a pass every few seconds while the storage tier is on."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc] # Ray Serve awaits it
        set_up_replica("MaintenanceWorker", settings.metrics_port)
        self._task = None
        if settings.database is not None and settings.storage_enabled:
            self._task = asyncio.create_task(_run(settings))

    async def check_health(self) -> None:
        """Fail when the passes have ended, so that Ray replaces this replica."""
        if self._task is not None and self._task.done():
            raise RuntimeError("maintenance has stopped")

    async def __del__(self) -> None:
        """Stop between two passes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


async def _run(settings: Settings) -> None:
    async with open_maintenance(settings) as maintenance:
        is_first = True
        while True:
            try:
                await maintenance.run_once(at_once=is_first)
                is_first = False
                await maintenance.look()
            except (DatabaseUnavailableError, StorageUnavailableError):
                pass  # said by whoever noticed; the next pass does it
            except Exception:
                logger.exception(json.dumps({"event": "maintenance failed"}))
            await asyncio.sleep(EVERY_S)
