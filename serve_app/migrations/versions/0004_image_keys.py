"""Which API key sent an image: that key alone may have it masked again."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No default and no reference, so no row is written and no key locked."""
    op.add_column("images", sa.Column("key_id", sa.Uuid()))


def downgrade() -> None:
    """Forget."""
    op.drop_column("images", "key_id")
