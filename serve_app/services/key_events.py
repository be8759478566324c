"""Hears of changed API keys on a connection of its own, and knows when it hears nothing.

The connection also holds the advisory lock that tells other processes that this replica lives.
"""

import asyncio
import contextlib
import json
import logging
import time
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from serve_app.database import CONNECT_TIMEOUT_S, UNREACHABLE, Database
from serve_app.services.api_keys import KeyCache

CHANNEL: Final = "face_api_keys"
OWNER_CLASS: Final = 0xFACE
"""First number of the advisory lock that a replica holds while it lives; the second is its own."""
HEARTBEAT_S: Final = 1.0
ANSWER_TIMEOUT_S: Final = 2.0
RETRY_S: Final = 1.0
PING: Final = "ping "

logger = logging.getLogger("face_api.database")


class KeyEvents:
    """LISTEN on one connection, proved alive by a message to itself every second.

    A connection that accepts LISTEN and delivers nothing (a pooler in transaction mode) would otherwise let
    a revoked key live on.
    """

    def __init__(self, database: Database, cache: KeyCache, owner: int) -> None:
        self._database = database
        self._cache = cache
        self._owner = owner
        self._ping = PING + uuid4().hex
        self._heard = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled."""
        is_deaf = False
        while True:
            try:
                is_deaf = not await self._listen()
            except UNREACHABLE as error:
                self._cache.listen_state(hears_changes=False, is_away=True)
                self._database.note(error)
            if is_deaf:
                event = "changes of API keys are not heard of: is a pooler in transaction mode in between?"
                logger.warning(json.dumps({"event": event}))
            await asyncio.sleep(RETRY_S)

    async def _listen(self) -> bool:
        """Serve one connection until it fails; False when messages do not come back on it."""
        connection: Any = await asyncpg.connect(self._database.url, timeout=CONNECT_TIMEOUT_S)
        try:
            await connection.add_listener(CHANNEL, self._on_message)
            await connection.execute("SELECT pg_advisory_lock($1, $2)", OWNER_CLASS, self._owner)
            self._database.note(None)
            while True:
                self._heard.clear()
                sent_s = time.monotonic()
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, self._ping)
                try:
                    await asyncio.wait_for(self._heard.wait(), ANSWER_TIMEOUT_S)
                except TimeoutError:
                    self._cache.listen_state(hears_changes=False, is_away=False)
                    return False
                self._cache.listen_state(hears_changes=True, is_away=False)
                await asyncio.sleep(max(0.0, HEARTBEAT_S - (time.monotonic() - sent_s)))
        finally:
            connection.terminate()

    def _on_message(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        text = str(payload)
        if text.startswith(PING):
            if text == self._ping:
                self._heard.set()
            return
        with contextlib.suppress(ValueError):
            self._cache.forget(UUID(text))
