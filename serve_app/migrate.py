"""Brings the tables to the state this version needs. Several replicas may start at once: one does it."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from serve_app.database import CONNECT_TIMEOUT_S, DATABASE_UNAVAILABLE, UNREACHABLE, DatabaseUnavailableError

LOCK: Final = 0x0FACE_A91  # any number of our own, for pg_advisory_xact_lock
logger = logging.getLogger("face_api.database")


@dataclass(frozen=True, slots=True)
class Migration:
    """What `migrate` found and left."""

    before: str | None  # revision of the tables; None: there were none
    after: str


async def migrate(url: str) -> Migration:
    """Apply what is missing, in one transaction under an advisory lock.

    Args:
        url: postgresql://...

    Raises:
        DatabaseUnavailableError: The database cannot be reached.
    """
    driver_url = "postgresql+asyncpg://" + url.split("://", 1)[1]
    engine = create_async_engine(driver_url, poolclass=NullPool, connect_args={"timeout": CONNECT_TIMEOUT_S})
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            return await connection.run_sync(_upgrade)
    except UNREACHABLE as error:
        raise DatabaseUnavailableError(DATABASE_UNAVAILABLE) from error
    except DBAPIError as error:  # SQLAlchemy's wrapping of the same
        reason = error.orig.__cause__ if error.orig is not None else None
        if isinstance(reason, UNREACHABLE):
            raise DatabaseUnavailableError(DATABASE_UNAVAILABLE) from reason
        raise
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> Migration:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head() or ""
    current = MigrationContext.configure(connection).get_current_revision()
    if current == head:
        return Migration(current, head)
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        # A newer version is being rolled out beside this one; its tables still fit (DECISIONS.md).
        logger.warning('{"event": "the database is newer than this version", "revision": "%s"}', current)
        return Migration(current, current)
    command.upgrade(config, "head")
    return Migration(current, head)
