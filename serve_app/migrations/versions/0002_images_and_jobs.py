"""Images, jobs, what is to be removed from the bucket, and statistics."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Each transaction adds to one of 16 rows, by its connection: it locks no second row of this table,
# so two transactions never hold what the other waits for. Foreign keys are checked, and cascades run,
# before a statement's triggers, so rows of data are locked first.
COUNT_IMAGES = """
CREATE FUNCTION count_images() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    sign int := CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END;
BEGIN
    UPDATE storage_statistics AS s SET
        images = s.images + sign * c.images,
        used_bytes = s.used_bytes + sign * c.used_bytes
    FROM (
        SELECT count(*) AS images,
               coalesce(sum(size_bytes) FILTER (WHERE s3_key IS NOT NULL), 0) AS used_bytes
        FROM changed
    ) AS c
    WHERE s.shard = pg_backend_pid() % 16 AND c.images > 0;
    RETURN NULL;
END $$
"""
COUNT_JOBS = """
CREATE FUNCTION count_processing_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
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
        used_bytes = s.used_bytes + sign * c.used_bytes
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
                   AS used_bytes
        FROM changed
    ) AS c
    WHERE s.shard = pg_backend_pid() % 16 AND c.jobs > 0;
    RETURN NULL;
END $$
"""


def _count_changes(table: str) -> None:
    for event, rows in (("INSERT", "NEW"), ("DELETE", "OLD")):
        op.execute(
            f"CREATE TRIGGER count_{event.lower()} AFTER {event} ON {table}"
            f" REFERENCING {rows} TABLE AS changed"
            f" FOR EACH STATEMENT EXECUTE FUNCTION count_{table}()"
        )


def upgrade() -> None:
    """Make the tables of the storage tier."""
    op.create_table(
        "images",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("s3_key", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
    op.create_index("ix_images_created_at", "images", ["created_at", "id"])
    op.create_index("ix_images_s3_key", "images", ["s3_key"], postgresql_using="hash")
    op.create_table(
        "processing_jobs",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("image_id", sa.Uuid(), sa.ForeignKey("images.id", ondelete="CASCADE"), nullable=False),
        sa.Column("job_type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("confidence_threshold", sa.Double(), nullable=False),
        sa.Column("nms_threshold", sa.Double(), nullable=False),
        sa.Column("blur_method", sa.Text()),
        sa.Column("blur_strength", sa.Integer()),
        sa.Column("padding", sa.Double()),
        sa.Column("output_format", sa.Text()),
        sa.Column("output_quality", sa.Integer()),
        sa.Column("face_count", sa.Integer(), nullable=False),
        sa.Column("detections", JSONB(), nullable=False),
        sa.Column("processed_s3_key", sa.Text()),
        sa.Column("processed_size_bytes", sa.BigInteger()),
        sa.Column("inference_ms", sa.Double(), nullable=False),
        sa.Column("total_ms", sa.Double(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("job_type IN ('detect', 'mask')", name="ck_processing_jobs_job_type"),
        sa.CheckConstraint(
            "blur_method IN ('gaussian', 'pixelate', 'solid', 'elliptical')",
            name="ck_processing_jobs_blur_method",
        ),
        sa.CheckConstraint(
            "num_nonnulls(blur_method, blur_strength, padding, output_format, output_quality)"
            " = CASE job_type WHEN 'mask' THEN 5 ELSE 0 END",
            name="ck_processing_jobs_mask_columns",
        ),
    )
    op.create_index("ix_processing_jobs_created_at", "processing_jobs", ["created_at", "id"])
    op.create_index("ix_processing_jobs_job_type", "processing_jobs", ["job_type", "created_at", "id"])
    op.create_index(
        "ix_processing_jobs_blur_method",
        "processing_jobs",
        ["blur_method", "created_at", "id"],
        postgresql_where=sa.text("blur_method IS NOT NULL"),
    )
    op.create_index("ix_processing_jobs_image_id", "processing_jobs", ["image_id", "created_at", "id"])
    op.create_index(
        "ix_processing_jobs_processed_s3_key",
        "processing_jobs",
        ["processed_s3_key"],
        postgresql_using="hash",
    )
    counters = (
        "images",
        "detect_jobs",
        "gaussian_jobs",
        "pixelate_jobs",
        "solid_jobs",
        "elliptical_jobs",
        "faces",
        "inference_us",
        "used_bytes",
    )
    op.create_table(
        "storage_statistics",
        sa.Column("shard", sa.SmallInteger(), primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False) for name in counters),
    )
    op.execute("INSERT INTO storage_statistics (shard) SELECT generate_series(0, 15)")
    op.execute(COUNT_IMAGES)
    op.execute(COUNT_JOBS)
    _count_changes("images")
    _count_changes("processing_jobs")
    op.create_table(
        "storage_cleanup_tasks",
        sa.Column("id", sa.BigInteger(), primary_key=True),
        sa.Column("s3_key", sa.Text(), nullable=False),
        sa.Column("owner", sa.Integer()),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("owner >= 0", name="ck_storage_cleanup_tasks_owner"),
    )
    op.create_index("ix_storage_cleanup_tasks_due_at", "storage_cleanup_tasks", ["due_at", "id"])
    op.create_index("ix_storage_cleanup_tasks_s3_key", "storage_cleanup_tasks", ["s3_key"])


def downgrade() -> None:
    """Drop them."""
    for table in ("storage_cleanup_tasks", "processing_jobs", "images", "storage_statistics"):
        op.drop_table(table)
    op.execute("DROP FUNCTION count_processing_jobs()")
    op.execute("DROP FUNCTION count_images()")
