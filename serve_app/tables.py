"""The tables, as SQLAlchemy Core sees them. `serve_app/migrations` makes them; a test compares the two."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
    text,
)

metadata: Final = MetaData()

api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("name", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False, unique=True),  # SHA-256 of the whole key
    Column("key_prefix", Text, nullable=False),
    Column("key_suffix", Text, nullable=False),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("request_count", BigInteger, nullable=False, server_default=text("0")),
    Column("last_used_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now(), index=True),
)

usage_flushes: Final = Table(
    "usage_flushes",
    metadata,
    Column("replica_id", Uuid, primary_key=True),
    Column("number", BigInteger, nullable=False),  # of the last flush that was written
    Column("flushed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""What each ingress replica has written of its counters, so that a repeated flush counts nothing twice."""

admin_sessions: Final = Table(
    "admin_sessions",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),  # SHA-256 of the cookie
    Column("username", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False, index=True),
)

login_failures: Final = Table(
    "login_failures",
    metadata,
    Column("address", Text, primary_key=True),
    Column("failures", Integer, nullable=False),  # in a row
    Column("failed_at", DateTime(timezone=True), nullable=False, server_default=func.now(), index=True),
    Column("blocked_until", DateTime(timezone=True)),
)
