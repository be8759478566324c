"""Sessions of administrators, and who failed to log in."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from serve_app.database import Database
from serve_app.tables import admin_sessions, login_failures

FORGET_FAILURES_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class FailureState:
    """How an address stands."""

    failures: int  # in a row
    blocked_s: float  # until it may try again; 0 when it may now


class SessionRepository:
    """Questions about sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, token_hash: bytes, username: str, ttl_s: int) -> None:
        """Begin a session, and forget those that have ended."""
        await self._database.execute(
            admin_sessions.delete().where(admin_sessions.c.expires_at < sa.func.now())
        )
        expires_at = sa.func.now() + _seconds(ttl_s)
        await self._database.execute(
            admin_sessions.insert().values(token_hash=token_hash, username=username, expires_at=expires_at)
        )

    async def username(self, token_hash: bytes) -> str | None:
        """Whose session it is; None when it ended or never was."""
        query = sa.select(admin_sessions.c.username).where(
            admin_sessions.c.token_hash == token_hash, admin_sessions.c.expires_at > sa.func.now()
        )
        username: str | None = await self._database.fetch_value(query)
        return username

    async def end(self, token_hash: bytes) -> None:
        """End a session on every replica."""
        await self._database.execute(admin_sessions.delete().where(admin_sessions.c.token_hash == token_hash))


class LoginFailureRepository:
    """Questions about failed logins."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def state(self, address: str) -> FailureState:
        """How an address stands."""
        left = sa.extract("epoch", login_failures.c.blocked_until - sa.func.now()).label("blocked_s")
        query = sa.select(login_failures.c.failures, left).where(login_failures.c.address == address)
        row = await self._database.fetch_one(query)
        if row is None:
            return FailureState(0, 0.0)
        return FailureState(row["failures"], max(0.0, float(row["blocked_s"] or 0.0)))

    async def add(self, address: str, most: int, block_s: int) -> bool:
        """Count a try before its password is looked at, so that no number of tries at once gets past.

        Returns:
            Whether the try may go on. At `most` the address is blocked; the count begins anew after that.
        """
        table = login_failures
        ended = table.c.blocked_until <= sa.func.now()
        failures = sa.case((ended, 1), else_=table.c.failures + 1)
        now, block_end = sa.func.now(), sa.func.now() + _seconds(block_s)
        first: dict[str, object] = {"address": address, "failures": 1, "failed_at": now}
        if most <= 1:
            first["blocked_until"] = block_end
        query = (
            pg.insert(table)
            .values(**first)
            .on_conflict_do_update(
                index_elements=[table.c.address],
                set_={
                    "failures": failures,
                    "failed_at": now,
                    "blocked_until": sa.case(
                        (ended, sa.null()),
                        (table.c.blocked_until.is_not(None), table.c.blocked_until),
                        (table.c.failures + 1 >= most, block_end),
                        else_=sa.null(),
                    ),
                },
            )
            .returning(table.c.failures)
        )
        return int(await self._database.fetch_value(query)) <= most

    async def clear(self, address: str) -> None:
        """A login went well: the address starts from nothing. Addresses of yesterday are forgotten too."""
        old = sa.func.now() - _seconds(FORGET_FAILURES_S)
        await self._database.execute(
            login_failures.delete().where(
                sa.or_(login_failures.c.address == address, login_failures.c.failed_at < old)
            )
        )


def _seconds(count: float) -> sa.ColumnElement[datetime]:
    return sa.func.make_interval(0, 0, 0, 0, 0, 0, count)
