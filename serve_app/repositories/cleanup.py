"""Objects that are to be removed from the bucket, and those that must not be."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from serve_app.database import Database, Prepared
from serve_app.tables import images, processing_jobs, storage_cleanup_tasks

CLAIM_S: Final = 300.0
"""A claimed task is due again after this long: whoever claimed it may have died."""
FIRST_RETRY_S: Final = 10.0
MOST_RETRY_S: Final = 3600.0
MOST_DOUBLINGS: Final = 16  # beyond any use, and far from overflowing
MOST_ERROR_CHARACTERS: Final = 500

# pg_locks shows pg_try_advisory_lock(int, int) with objsubid 2, its numbers as classid and objid.
pg_locks: Final = sa.table(
    "pg_locks",
    *(sa.column(name) for name in ("locktype", "database", "objsubid", "granted")),
    sa.column("classid"),
    sa.column("objid"),
)
pg_database: Final = sa.table("pg_database", sa.column("oid"), sa.column("datname"))


@dataclass(frozen=True, slots=True)
class CleanupTask:
    """One object to be removed."""

    id: int
    s3_key: str
    attempts: int  # that failed


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits to be removed."""

    count: int
    oldest_s: float  # age of the oldest; 0 without any


_KEYS: Final = sa.cast(sa.bindparam("keys"), pg.ARRAY(sa.Text))
_DUE_IN_S: Final = sa.cast(sa.bindparam("due_in_s"), sa.Double)
ADD: Final = Prepared(
    storage_cleanup_tasks.insert().from_select(
        ["s3_key", "owner", "due_at"],
        sa.select(
            sa.func.unnest(_KEYS),
            sa.cast(sa.bindparam("owner"), sa.Integer),
            sa.func.now() + sa.func.make_interval(0, 0, 0, 0, 0, 0, _DUE_IN_S),
        ),
    )
)
TASKS_OF_OWNER: Final = (
    storage_cleanup_tasks.delete()
    .where(
        storage_cleanup_tasks.c.s3_key == sa.any_(_KEYS),
        storage_cleanup_tasks.c.owner == sa.cast(sa.bindparam("owner"), sa.Integer),
    )
    .returning(storage_cleanup_tasks.c.id)
)
"""Removes the tasks for `keys` that are still the `owner`'s."""
TAKE_BACK: Final = Prepared(TASKS_OF_OWNER)


class CleanupRepository:
    """Questions about cleanup tasks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, keys: Sequence[str], owner: int | None, due_in_s: float) -> None:
        """Have these objects removed, unless their owner takes the tasks back.

        Args:
            keys: Of objects, which may not exist yet.
            owner: Number of the advisory lock that the replica holds while it lives; None for garbage.
            due_in_s: When an owner that still lives must have finished.
        """
        await self._database.run(ADD, keys=list(keys), owner=owner, due_in_s=float(due_in_s))

    async def take_back(self, keys: Sequence[str], owner: int) -> int:
        """How many of the owner's tasks for these keys were still there; they are gone now.

        In the transaction that writes the rows. Fewer than `keys`: cleanup was quicker, so roll back.
        """
        return len(await self._database.run(TAKE_BACK, keys=list(keys), owner=owner))

    async def claim(self, count: int, owner_class: int) -> list[CleanupTask]:
        """Tasks that are due, and those of owners that died; nobody else gets them for CLAIM_S.

        Commit before removing the objects: from then on no owner takes them back. A claim that were rolled
        back afterwards would hand a task to its owner whose object is gone.

        Args:
            count: At most so many.
            owner_class: First number of the owners' advisory locks.
        """
        table = storage_cleanup_tasks
        here = sa.select(pg_database.c.oid).where(pg_database.c.datname == sa.func.current_database())
        living = sa.select(sa.cast(pg_locks.c.objid, sa.BigInteger)).where(
            pg_locks.c.locktype == "advisory",
            pg_locks.c.database == here.scalar_subquery(),
            sa.cast(pg_locks.c.classid, sa.BigInteger) == owner_class,
            pg_locks.c.objsubid == 2,
            pg_locks.c.granted,
        )
        has_died = sa.and_(table.c.owner.is_not(None), table.c.owner.not_in(living))
        return await self._claim(sa.or_(table.c.due_at <= sa.func.now(), has_died), count)

    async def claim_keys(self, keys: Sequence[str]) -> list[CleanupTask]:
        """Those tasks for these keys that are due, as `claim` does."""
        table = storage_cleanup_tasks
        mine = table.c.s3_key == sa.any_(_texts(keys))
        return await self._claim(sa.and_(mine, table.c.due_at <= sa.func.now()), len(keys))

    async def retry_now(self) -> None:
        """Let what failed be tried at once; uploads under way keep their time."""
        table = storage_cleanup_tasks
        await self._database.execute(
            table.update().where(table.c.owner.is_(None), table.c.attempts > 0).values(due_at=sa.func.now())
        )

    async def done(self, ids: Sequence[int]) -> None:
        """These objects are gone."""
        table = storage_cleanup_tasks
        await self._database.execute(table.delete().where(table.c.id == sa.any_(_ids(ids))))

    async def failed(self, ids: Sequence[int], error: str) -> None:
        """These could not be removed: later again, each time about twice as late, an hour at most."""
        table = storage_cleanup_tasks
        doublings = sa.func.least(table.c.attempts, MOST_DOUBLINGS)
        wait_s = sa.func.least(FIRST_RETRY_S * sa.func.power(2, doublings), MOST_RETRY_S)
        spread_s = wait_s * (0.5 + 0.5 * sa.func.random())  # what failed together is not tried together
        await self._database.execute(
            table.update()
            .where(table.c.id == sa.any_(_ids(ids)))
            .values(
                attempts=table.c.attempts + 1,
                last_error=error[:MOST_ERROR_CHARACTERS],
                due_at=sa.func.now() + _seconds(spread_s),
            )
        )

    async def count_and_oldest(self) -> Backlog:
        """What waits to be removed; uploads under way are not part of it."""
        table = storage_cleanup_tasks
        age_s = sa.extract("epoch", sa.func.now() - sa.func.min(table.c.created_at))
        query = sa.select(sa.func.count().label("count"), age_s.label("oldest_s")).where(
            sa.or_(table.c.owner.is_(None), table.c.due_at <= sa.func.now())
        )
        row = await self._database.fetch_one(query)
        if row is None:
            raise AssertionError("an aggregate is always one row")
        return Backlog(row["count"], float(row["oldest_s"] or 0.0))

    async def known_keys(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys that an image, a job or a cleanup task names."""
        columns = (images.c.s3_key, processing_jobs.c.processed_s3_key, storage_cleanup_tasks.c.s3_key)
        wanted = _texts(keys)
        query = sa.union(
            *(sa.select(column.label("s3_key")).where(column == sa.any_(wanted)) for column in columns)
        )
        return {row["s3_key"] for row in await self._database.fetch_all(query)}

    async def _claim(self, is_wanted: sa.ColumnElement[bool], count: int) -> list[CleanupTask]:
        table = storage_cleanup_tasks
        wanted = (
            sa.select(table.c.id)
            .where(is_wanted)
            .order_by(table.c.due_at, table.c.id)
            .limit(count)
            .with_for_update(skip_locked=True)
            .cte("wanted")
        )
        query = (
            table.update()
            .where(table.c.id == wanted.c.id)
            .values(owner=None, due_at=sa.func.now() + _seconds(CLAIM_S))
            .returning(*(table.c[field.name] for field in fields(CleanupTask)))
        )
        rows = await self._database.fetch_all(query)
        return [CleanupTask(row["id"], row["s3_key"], row["attempts"]) for row in rows]


def _texts(values: Sequence[str]) -> sa.ColumnElement[Any]:
    return sa.cast(list(values), pg.ARRAY(sa.Text))


def _ids(values: Sequence[int]) -> sa.ColumnElement[Any]:
    return sa.cast(list(values), pg.ARRAY(sa.BigInteger))


def _seconds(count: float | sa.ColumnElement[float]) -> sa.ColumnElement[datetime]:
    return sa.func.make_interval(0, 0, 0, 0, 0, 0, count)
