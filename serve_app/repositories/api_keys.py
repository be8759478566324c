"""API keys and their counters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from serve_app.database import Database
from serve_app.tables import api_keys, usage_flushes


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One row, without the hash."""

    id: UUID
    name: str
    key_prefix: str
    key_suffix: str
    is_active: bool
    request_count: int
    last_used_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What a replica has to know of a key to let it in."""

    id: UUID
    is_active: bool


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What one replica has counted of a key since it last wrote."""

    requests: int
    last_used_at: datetime


@dataclass(frozen=True, slots=True)
class KeyTotals:
    """All keys together."""

    keys: int
    active_keys: int
    requests: int  # of the keys that still exist
    last_used_at: datetime | None


COLUMNS = [api_keys.c[name] for name in ApiKey.__slots__]


class ApiKeyRepository:
    """Questions about API keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str, key_hash: bytes, prefix: str, suffix: str) -> ApiKey:
        """A new active key."""
        query = (
            api_keys.insert()
            .values(name=name, key_hash=key_hash, key_prefix=prefix, key_suffix=suffix)
            .returning(*COLUMNS)
        )
        return _api_key(await self._database.fetch_one(query))

    async def get(self, key_id: UUID) -> ApiKey | None:
        """One key."""
        row = await self._database.fetch_one(sa.select(*COLUMNS).where(api_keys.c.id == key_id))
        return row and _api_key(row)

    async def page(self, offset: int, count: int) -> list[ApiKey]:
        """Keys, newest first."""
        query = (
            sa.select(*COLUMNS)
            .order_by(api_keys.c.created_at.desc(), api_keys.c.id)
            .offset(offset)
            .limit(count)
        )
        return [_api_key(row) for row in await self._database.fetch_all(query)]

    async def count(self) -> int:
        """How many there are."""
        return int(await self._database.fetch_value(sa.select(sa.func.count()).select_from(api_keys)))

    async def totals(self) -> KeyTotals:
        """All of them together."""
        query = sa.select(
            sa.func.count().label("keys"),
            sa.func.count().filter(api_keys.c.is_active).label("active_keys"),
            sa.cast(sa.func.coalesce(sa.func.sum(api_keys.c.request_count), 0), sa.BigInteger).label(
                "requests"
            ),
            sa.func.max(api_keys.c.last_used_at).label("last_used_at"),
        ).select_from(api_keys)
        row: Any = await self._database.fetch_one(query)
        return KeyTotals(*(row[name] for name in KeyTotals.__slots__))

    async def update(self, key_id: UUID, changes: Mapping[str, Any]) -> ApiKey | None:
        """Set `name` or `is_active`; None for an unknown id."""
        query = api_keys.update().where(api_keys.c.id == key_id).values(**changes).returning(*COLUMNS)
        row = await self._database.fetch_one(query)
        return row and _api_key(row)

    async def delete(self, key_id: UUID) -> bool:
        """Whether there was such a key."""
        query = api_keys.delete().where(api_keys.c.id == key_id).returning(api_keys.c.id)
        return await self._database.fetch_one(query) is not None

    async def known(self, hashes: Sequence[bytes]) -> dict[bytes, KnownKey]:
        """Those of the hashes that belong to a key."""
        wanted = sa.bindparam("wanted", list(hashes), pg.ARRAY(sa.LargeBinary))
        query = sa.select(api_keys.c.id, api_keys.c.is_active, api_keys.c.key_hash).where(
            api_keys.c.key_hash == sa.any_(wanted)
        )
        rows = await self._database.fetch_all(query)
        return {row["key_hash"]: KnownKey(row["id"], row["is_active"]) for row in rows}

    async def add_uses(self, uses: Mapping[UUID, KeyUse], replica_id: UUID, number: int) -> None:
        """Add what a replica counted: one statement, and nothing when this flush was written before.

        Rows are locked in the order of their ids, so that two replicas never wait for each other.

        Args:
            uses: Of keys that may have been deleted since.
            replica_id: Of the replica that counted.
            number: Of this flush, growing.
        """
        fresh = (
            pg.insert(usage_flushes)
            .values(replica_id=replica_id, number=number)
            .on_conflict_do_update(
                index_elements=[usage_flushes.c.replica_id],
                set_={"number": number, "flushed_at": sa.func.now()},
                where=usage_flushes.c.number < number,
            )
            .returning(usage_flushes.c.number)
            .cte("fresh")
        )
        ordered = sorted(uses.items())
        counted = (
            sa.func.unnest(
                sa.cast([key_id for key_id, _ in ordered], pg.ARRAY(sa.Uuid)),
                sa.cast([use.requests for _, use in ordered], pg.ARRAY(sa.BigInteger)),
                sa.cast([use.last_used_at for _, use in ordered], pg.ARRAY(sa.DateTime(timezone=True))),
            )
            .table_valued(
                sa.column("id", sa.Uuid), sa.column("requests", sa.BigInteger), sa.column("used_at")
            )
            .render_derived("counted")
        )
        locked = (
            sa.select(api_keys.c.id)
            .where(api_keys.c.id.in_(sa.select(counted.c.id)))
            .order_by(api_keys.c.id)
            .with_for_update(key_share=True)
            .cte("locked")
        )
        query = (
            api_keys.update()
            .where(
                api_keys.c.id == counted.c.id,
                api_keys.c.id == locked.c.id,
                sa.exists(sa.select(fresh.c.number)),
            )
            .values(
                request_count=api_keys.c.request_count + counted.c.requests,
                last_used_at=sa.func.greatest(api_keys.c.last_used_at, counted.c.used_at),
            )
        )
        await self._database.execute(query)

    async def forget_flushes(self, older_than_days: int) -> None:
        """Remove the marks of replicas that are long gone."""
        age = sa.func.make_interval(0, 0, 0, older_than_days)
        await self._database.execute(
            usage_flushes.delete().where(usage_flushes.c.flushed_at < sa.func.now() - age)
        )


def _api_key(row: Any) -> ApiKey:  # noqa: ANN401 - rows are not typed
    return ApiKey(*(row[name] for name in ApiKey.__slots__))
