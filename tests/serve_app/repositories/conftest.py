"""Rows to store, and a database to store them in."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from serve_app.database import Database
from serve_app.repositories.images import Image
from serve_app.repositories.jobs import Job

FACE = {
    "index": 0,
    "bbox": {"x1": 10.5, "y1": 20.0, "x2": 30.5, "y2": 50.0},
    "confidence": 0.9,
    "landmarks": None,
    "size": {"width": 20.0, "height": 30.0},
    "area": 600.0,
    "center": {"x": 20.5, "y": 35.0},
    "relative": {"x_center": 0.0641, "y_center": 0.1458, "width": 0.0625, "height": 0.125},
}


def new_image(**changes: Any) -> Image:
    image_id = changes.pop("id", None) or uuid4()
    values: dict[str, Any] = {
        "filename": "party.jpg",
        "content_type": "image/jpeg",
        "size_bytes": 1000,
        "width": 320,
        "height": 240,
        "s3_key": f"originals/{image_id}/party.jpg",
        "key_id": None,
    }
    return Image(id=image_id, **{**values, **changes})


def new_job(image_id: UUID, method: str | None = None, **changes: Any) -> Job:
    """A mask job with a result, or without a method a detect job."""
    job_id = uuid4()
    is_mask = method is not None
    values: dict[str, Any] = {
        "job_type": "mask" if is_mask else "detect",
        "status": "completed",
        "confidence_threshold": 0.5,
        "nms_threshold": 0.4,
        "blur_method": method,
        "blur_strength": 199 if is_mask else None,
        "padding": 0.15 if is_mask else None,
        "output_format": "jpeg" if is_mask else None,
        "output_quality": 95 if is_mask else None,
        "face_count": 1,
        "processed_s3_key": f"processed/{image_id}/{job_id}.jpeg" if is_mask else None,
        "processed_size_bytes": 300 if is_mask else None,
        "inference_ms": 12.345,
        "total_ms": 20.5,
        "detections": [FACE],
    }
    return Job(id=job_id, image_id=image_id, **{**values, **changes})


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, pool_size=10)
    await database.open()
    yield database
    await database.close()
