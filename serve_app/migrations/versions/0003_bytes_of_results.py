"""How much of the storage used is results: the rest is originals."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COUNT_JOBS = """
CREATE OR REPLACE FUNCTION count_processing_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    sign int := CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END;
BEGIN
    UPDATE storage_statistics AS s SET
        detect_jobs = s.detect_jobs + sign * c.detect_jobs,
        gaussian_jobs = s.gaussian_jobs + sign * c.gaussian_jobs,
        pixelate_jobs = s.pixelate_jobs + sign * c.pixelate_jobs,
        solid_jobs = s.solid_jobs + sign * c.solid_jobs,
        elliptical_jobs = s.elliptical_jobs + sign * c.elliptical_jobs,
        faces = s.faces + sign * c.faces,
        inference_us = s.inference_us + sign * c.inference_us,
        {counters}
    FROM (
        SELECT count(*) AS jobs,
               count(*) FILTER (WHERE job_type = 'detect') AS detect_jobs,
               count(*) FILTER (WHERE blur_method = 'gaussian') AS gaussian_jobs,
               count(*) FILTER (WHERE blur_method = 'pixelate') AS pixelate_jobs,
               count(*) FILTER (WHERE blur_method = 'solid') AS solid_jobs,
               count(*) FILTER (WHERE blur_method = 'elliptical') AS elliptical_jobs,
               sum(face_count) AS faces,
               sum(round(inference_ms * 1000)::bigint) AS inference_us,
               coalesce(sum(processed_size_bytes) FILTER (WHERE processed_s3_key IS NOT NULL), 0)
                   AS result_bytes
        FROM changed
    ) AS c
    WHERE s.shard = pg_backend_pid() % 16 AND c.jobs > 0;
    RETURN NULL;
END $$
"""
ALL_BYTES = "used_bytes = s.used_bytes + sign * c.result_bytes"
RESULT_BYTES = "result_bytes = s.result_bytes + sign * c.result_bytes"


def upgrade() -> None:
    """Count the results that are there, then those that come and go."""
    # Whoever adds a job is waited for, or waits until the new function is there.
    op.execute("LOCK TABLE processing_jobs IN SHARE ROW EXCLUSIVE MODE")
    op.add_column(
        "storage_statistics",
        sa.Column("result_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.execute(
        "UPDATE storage_statistics SET result_bytes ="
        " (SELECT coalesce(sum(processed_size_bytes), 0) FROM processing_jobs"
        " WHERE processed_s3_key IS NOT NULL) WHERE shard = 0"
    )
    op.execute(COUNT_JOBS.format(counters=f"{ALL_BYTES},\n        {RESULT_BYTES}"))


def downgrade() -> None:
    """Count them together again."""
    op.execute("LOCK TABLE processing_jobs IN SHARE ROW EXCLUSIVE MODE")
    op.execute(COUNT_JOBS.format(counters=ALL_BYTES))
    op.drop_column("storage_statistics", "result_bytes")
