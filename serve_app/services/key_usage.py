"""How often each API key was used: counted in memory, written at most once a second."""

import asyncio
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import UUID, uuid4

from serve_app.database import DatabaseUnavailableError
from serve_app.metrics import KEY_USAGE_LOST
from serve_app.repositories.api_keys import KeyUse

FLUSH_S: Final = 1.0
CLOSE_TIMEOUT_S: Final = 3.0

logger = logging.getLogger("face_api.database")


class UseStore(Protocol):
    """Where uses are written: `repositories.api_keys`."""

    async def add_uses(self, uses: Mapping[UUID, KeyUse], replica_id: UUID, number: int) -> None:
        """Add what a replica counted, once for each number."""
        ...


class KeyUsage:
    """Counts for one replica. A flush that may or may not have been written is repeated under its number."""

    def __init__(self, store: UseStore) -> None:
        self._store = store
        self._replica_id = uuid4()
        self._number = 0
        self._counts: dict[UUID, int] = {}
        self._times: dict[UUID, datetime] = {}
        self._pending: dict[UUID, KeyUse] = {}

    def add(self, key_id: UUID) -> None:
        """One request with this key was let in."""
        self._counts[key_id] = self._counts.get(key_id, 0) + 1
        self._times[key_id] = datetime.now(UTC)

    async def run(self) -> None:
        """Write every second until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await self.flush()
            except DatabaseUnavailableError:
                continue  # logged by the database; the counts stay

    async def flush(self) -> None:
        """Write what was counted, at most one statement for what is pending and one for what came since."""
        if self._pending:
            await self._write()
        if self._counts:
            self._pending = {
                key_id: KeyUse(count, self._times[key_id]) for key_id, count in self._counts.items()
            }
            self._counts, self._times = {}, {}
            self._number += 1
            await self._write()

    async def close(self) -> None:
        """Write the rest; what cannot be written is lost, and said so."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.flush()
        except (DatabaseUnavailableError, TimeoutError):
            lost = sum(use.requests for use in self._pending.values()) + sum(self._counts.values())
            KEY_USAGE_LOST.inc(by=lost)
            logger.error(json.dumps({"event": "uses of API keys were not written", "requests": lost}))

    async def _write(self) -> None:
        await self._store.add_uses(self._pending, self._replica_id, self._number)
        self._pending = {}
