"""The database tier of one ingress replica: what needs PostgreSQL, started and stopped together."""

import asyncio
import contextlib
import json
import logging
import secrets
from collections.abc import Coroutine
from typing import Any, Final

from serve_app.database import Database, DatabaseUnavailableError
from serve_app.migrate import migrate
from serve_app.repositories.admin import LoginFailureRepository, SessionRepository
from serve_app.repositories.api_keys import ApiKeyRepository
from serve_app.services.admin import AdminAccounts
from serve_app.services.api_keys import KeyCache
from serve_app.services.key_events import KeyEvents
from serve_app.services.key_usage import KeyUsage
from serve_app.settings import Settings

RETRY_S: Final = 1.0
FORGET_FLUSHES_DAYS: Final = 7

logger = logging.getLogger("face_api.database")


class DatabaseTier:
    """API keys, their use, and the administrator."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.database = Database(url, settings.database_pool_size)
        self.owner = secrets.randbelow(2**31)  # of the lock this replica holds while it lives
        self.keys = ApiKeyRepository(self.database)
        self.key_cache = KeyCache(self.keys, settings.api_key_grace_s)
        self.key_usage = KeyUsage(self.keys)
        password = settings.admin_password
        self.accounts = (
            None
            if password is None
            else AdminAccounts(
                settings.admin_user,
                password.get_secret_value(),
                settings.admin_session_ttl_s,
                SessionRepository(self.database),
                LoginFailureRepository(self.database),
            )
        )
        self._events = KeyEvents(self.database, self.key_cache, self.owner)
        self._is_migrated = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Bring the tables up to date, or go on trying while the database is away."""
        await self.database.open()
        if not await self._try_to_migrate():
            self._begin(self._migrate())
        self._begin(self._events.run())
        self._begin(self.key_usage.run())

    async def stop(self) -> None:
        """Write what was counted and close."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.key_usage.close()
        await self.database.close()

    async def is_ready(self) -> bool:
        """Whether the database answers and has its tables."""
        return await self.database.is_ready() and self._is_migrated

    async def _migrate(self) -> None:
        is_done = False
        while not is_done:
            await asyncio.sleep(RETRY_S)
            is_done = await self._try_to_migrate()

    async def _try_to_migrate(self) -> bool:
        try:
            await migrate(self.database.url)
        except DatabaseUnavailableError as error:
            self.database.note(error.__cause__ or error)
            return False
        except Exception:
            logger.exception("migration failed")
            return False
        self._is_migrated = True
        with contextlib.suppress(DatabaseUnavailableError):
            await self.keys.forget_flushes(FORGET_FLUSHES_DAYS)
        return True

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(_report)
        self._tasks.append(task)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error(json.dumps({"event": "a task of the database tier ended"}), exc_info=error)
