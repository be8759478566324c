"""API keys, their counters, admin sessions and lockouts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NOTIFY = """
CREATE FUNCTION notify_api_key_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('face_api_keys', coalesce(NEW.id, OLD.id)::text);
    RETURN NULL;
END $$
"""
# Counters are written every second and change nothing that replicas keep: they fire no trigger.
TRIGGER = """
CREATE TRIGGER api_key_change
AFTER INSERT OR DELETE OR UPDATE OF is_active, key_hash ON api_keys
FOR EACH ROW EXECUTE FUNCTION notify_api_key_change()
"""


def upgrade() -> None:
    """Make the tables of the database tier."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), server_default=sa.func.gen_random_uuid(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False, unique=True),
        sa.Column("key_prefix", sa.Text(), nullable=False),
        sa.Column("key_suffix", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("request_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
    op.create_index("ix_api_keys_created_at", "api_keys", ["created_at"])
    op.execute(NOTIFY)
    op.execute(TRIGGER)
    op.create_table(
        "usage_flushes",
        sa.Column("replica_id", sa.Uuid(), primary_key=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("flushed_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
    op.create_table(
        "admin_sessions",
        sa.Column("token_hash", sa.LargeBinary(), primary_key=True),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_admin_sessions_expires_at", "admin_sessions", ["expires_at"])
    op.create_table(
        "login_failures",
        sa.Column("address", sa.Text(), primary_key=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("blocked_until", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_login_failures_failed_at", "login_failures", ["failed_at"])


def downgrade() -> None:
    """Drop them."""
    for table in ("login_failures", "admin_sessions", "usage_flushes", "api_keys"):
        op.drop_table(table)
    op.execute("DROP FUNCTION notify_api_key_change()")
