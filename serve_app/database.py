"""PostgreSQL as one replica sees it: a bounded pool, and one error for whatever makes it unreachable."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import asyncpg
import databases
from databases.backends.dialects.psycopg import dialect
from sqlalchemy.sql import ClauseElement

from models.errors import FaceError
from serve_app.metrics import DATABASE_UP

CONNECT_TIMEOUT_S: Final = 3.0
COMMAND_TIMEOUT_S: Final = 10.0
PING_TIMEOUT_S: Final = 2.0
PING_FRESH_S: Final = 1.0
"""How long one ping is believed: /health is asked often."""

UNREACHABLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,  # the pool is closing, or a connection was lost between two statements
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, or crashed
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.UndefinedTableError,  # not migrated yet
)

DATABASE_UNAVAILABLE: Final = "the database cannot be reached; try again shortly"

logger = logging.getLogger("face_api.database")


class DatabaseUnavailableError(FaceError):
    """PostgreSQL cannot be reached; trying again a little later will help."""


def _port(url: str) -> int | None:
    """The port a URL names among its options: `databases` would take PGPORT instead."""
    parts = urlsplit(url)
    given = parse_qs(parts.query).get("port")
    return int(given[0]) if given else parts.port


async def _leave_as_it_is(_connection: object) -> None:
    """Nothing here changes a session, so giving a connection back need not ask the server to reset it."""


class Prepared:
    """A statement that is compiled once. `databases` compiles for each call: 0.3 ms for an INSERT."""

    def __init__(self, query: ClauseElement) -> None:
        """Compile as `databases` does; every value is a `bindparam` with a name of its own."""
        compiled: Any = query.compile(dialect=dialect(paramstyle="pyformat"))  # type: ignore[no-untyped-call]
        self._names = sorted(compiled.params)
        self._given: dict[str, Any] = compiled.params
        self._processors: dict[str, Any] = compiled._bind_processors
        self.text: str = compiled.string % {name: f"${i}" for i, name in enumerate(self._names, 1)}

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """The values in the order of the statement's parameters; constants fill in themselves."""
        merged = {**self._given, **values}
        return [
            self._processors[name](merged[name]) if name in self._processors else merged[name]
            for name in self._names
        ]


class Database:
    """The pool of one replica. Connections are opened when needed, so a start needs no database."""

    def __init__(self, url: str, pool_size: int) -> None:
        self.url = url
        self._database = databases.Database(
            url,
            port=_port(url),
            min_size=0,
            max_size=pool_size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            reset=_leave_as_it_is,
        )
        self._is_up: bool | None = None
        self._pinged_s = -PING_FRESH_S

    async def open(self) -> None:
        """Make the pool; does not connect yet."""
        await self._database.connect()

    async def close(self) -> None:
        """Close every connection."""
        await self._database.disconnect()

    async def fetch_all(self, query: ClauseElement) -> Sequence[Any]:
        """Every row."""
        with self._translated():
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                return await self._database.fetch_all(query)

    async def fetch_one(self, query: ClauseElement) -> Any | None:  # noqa: ANN401 - rows are not typed
        """The first row, or None."""
        with self._translated():
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                return await self._database.fetch_one(query)

    async def fetch_value(self, query: ClauseElement) -> Any:  # noqa: ANN401 - columns are not typed
        """The first column of the first row, or None."""
        with self._translated():
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                return await self._database.fetch_val(query)

    async def execute(self, query: ClauseElement) -> None:
        """Run a statement without a result."""
        with self._translated():
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                await self._database.execute(query)

    async def run(self, prepared: Prepared, **values: object) -> Sequence[Any]:
        """Every row of a prepared statement; part of the task's transaction, where there is one."""
        with self._translated():
            async with asyncio.timeout(COMMAND_TIMEOUT_S), self._database.connection() as connection:
                rows: list[Any] = await connection.raw_connection.fetch(
                    prepared.text, *prepared.arguments(values)
                )
                return rows

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Everything this task asks inside is one transaction."""
        with self._translated():
            async with self._database.transaction():
                yield

    async def is_ready(self) -> bool:
        """Whether it answers; asked at most once in PING_FRESH_S."""
        if time.monotonic() - self._pinged_s >= PING_FRESH_S:
            self._pinged_s = time.monotonic()
            try:
                with self._translated():
                    async with asyncio.timeout(PING_TIMEOUT_S):
                        await self._database.fetch_val("SELECT 1")
            except DatabaseUnavailableError:
                pass
        return self._is_up is True

    def note(self, error: BaseException | None) -> None:
        """Remember whether the database was reached, and log each change once."""
        is_up = error is None
        if is_up == self._is_up:
            return
        was_known, self._is_up = self._is_up is not None, is_up
        DATABASE_UP.set(is_up)
        if error is not None:
            reason = f"{type(error).__name__}: {error}"
            logger.error(json.dumps({"event": "database unreachable", "reason": reason}))
        elif was_known:
            logger.warning(json.dumps({"event": "database reachable again"}))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except UNREACHABLE as error:
            self.note(error)
            raise DatabaseUnavailableError(DATABASE_UNAVAILABLE) from error
        except FaceError:
            raise
        self.note(None)
