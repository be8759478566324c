"""The tables, as SQLAlchemy Core sees them. `serve_app/migrations` makes them; a test compares the two."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

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

images: Final = Table(
    "images",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("filename", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("width", Integer, nullable=False),  # pixels, upright
    Column("height", Integer, nullable=False),
    Column("s3_key", Text),  # None: the original was not kept
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("key_id", Uuid),  # that sent it, deleted or not; None: keys were off, or rows had none yet
    Index("ix_images_created_at", "created_at", "id"),
    Index("ix_images_s3_key", "s3_key", postgresql_using="hash"),
)

processing_jobs: Final = Table(
    "processing_jobs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("image_id", Uuid, ForeignKey("images.id", ondelete="CASCADE"), nullable=False),
    Column("job_type", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("confidence_threshold", Double, nullable=False),
    Column("nms_threshold", Double, nullable=False),
    Column("blur_method", Text),  # this and the next four: None on detect
    Column("blur_strength", Integer),
    Column("padding", Double),
    Column("output_format", Text),
    Column("output_quality", Integer),
    Column("face_count", Integer, nullable=False),
    Column("detections", JSONB, nullable=False),  # as the answer listed them
    Column("processed_s3_key", Text),  # None: no result was kept
    Column("processed_size_bytes", BigInteger),
    Column("inference_ms", Double, nullable=False),
    Column("total_ms", Double, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("job_type IN ('detect', 'mask')", name="ck_processing_jobs_job_type"),
    CheckConstraint(
        "blur_method IN ('gaussian', 'pixelate', 'solid', 'elliptical')",
        name="ck_processing_jobs_blur_method",
    ),
    CheckConstraint(
        "num_nonnulls(blur_method, blur_strength, padding, output_format, output_quality)"
        " = CASE job_type WHEN 'mask' THEN 5 ELSE 0 END",
        name="ck_processing_jobs_mask_columns",
    ),
    Index("ix_processing_jobs_created_at", "created_at", "id"),
    Index("ix_processing_jobs_job_type", "job_type", "created_at", "id"),
    Index(
        "ix_processing_jobs_blur_method",
        "blur_method",
        "created_at",
        "id",
        postgresql_where=text("blur_method IS NOT NULL"),
    ),
    Index("ix_processing_jobs_image_id", "image_id", "created_at", "id"),
    Index("ix_processing_jobs_processed_s3_key", "processed_s3_key", postgresql_using="hash"),
)

storage_statistics: Final = Table(
    "storage_statistics",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    *(
        Column(name, BigInteger, nullable=False, server_default=text("0"))
        for name in (
            "images",
            "detect_jobs",
            "gaussian_jobs",
            "pixelate_jobs",
            "solid_jobs",
            "elliptical_jobs",
            "faces",
            "inference_us",  # whole microseconds: what was added can be taken away again without a rest
            "used_bytes",  # of originals and results in the bucket
            "result_bytes",  # of results alone
        )
    ),
)
"""Sums over `images` and `processing_jobs`, kept by triggers. Each total is the sum over the shards."""

storage_cleanup_tasks: Final = Table(
    "storage_cleanup_tasks",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("s3_key", Text, nullable=False),
    Column("owner", Integer),  # the replica that may still need the object, by its advisory lock
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("last_error", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("owner >= 0", name="ck_storage_cleanup_tasks_owner"),
    Index("ix_storage_cleanup_tasks_due_at", "due_at", "id"),
    Index("ix_storage_cleanup_tasks_s3_key", "s3_key"),
)
"""Objects to be removed, unless their owner takes the task back in time."""
