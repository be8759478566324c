"""Bodies of the admin API about stored images and jobs."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from deployments.types import MaskMethod, OutputFormat
from serve_app.repositories.images import StoredImage
from serve_app.repositories.jobs import JobType, StoredJob
from serve_app.repositories.statistics import HourOfJobs, Totals
from serve_app.schemas.detect import Detection
from serve_app.schemas.pages import PageQuery

ObjectKind = Literal["originals", "results"]


class JobsQuery(PageQuery):
    """Which page of which jobs."""

    job_type: Annotated[JobType | SkipJsonSchema[None], Field(description="Only these.")] = None
    method: Annotated[
        MaskMethod | SkipJsonSchema[None], Field(description="Only mask jobs that hid faces this way.")
    ] = None


class StatsResponse(BaseModel):
    """Totals over everything that is stored."""

    total_images: int
    total_jobs: int
    total_faces_detected: int
    avg_inference_ms: float
    storage_used_bytes: int
    storage_by_kind: dict[ObjectKind, int]
    jobs_by_type: dict[JobType, int]
    jobs_by_method: dict[MaskMethod, int]


class HourResponse(BaseModel):
    """Jobs of one hour, which begins at `start`."""

    start: datetime
    detect: int
    mask: int


class HourlyResponse(BaseModel):
    """Jobs of the last 24 hours, oldest first; the current hour is the last."""

    hours: Sequence[HourResponse]


class StoredImageResponse(BaseModel):
    """A picture that was sent. Links are signed and end soon."""

    id: UUID
    filename: str
    content_type: str
    size_bytes: int
    width: int
    height: int
    original_url: str | None
    processed_url: str | None
    job_count: int
    created_at: datetime


class JobResponse(BaseModel):
    """What was done to a picture; five fields are null on detect. Links are signed and end soon."""

    id: UUID
    image_id: UUID
    job_type: JobType
    status: str
    confidence_threshold: float
    nms_threshold: float
    method: MaskMethod | None
    strength: int | None
    padding: float | None
    output_format: OutputFormat | None
    output_quality: int | None
    face_count: int
    processed_url: str | None
    processed_size_bytes: int | None
    inference_ms: float
    total_ms: float
    created_at: datetime


class StoredImageDetailResponse(StoredImageResponse):
    """A picture and its jobs, newest first."""

    jobs: Sequence[JobResponse]


class JobDetailResponse(JobResponse):
    """A job and the faces it found."""

    detections: Sequence[Detection]


def stats_response(totals: Totals) -> StatsResponse:
    """Totals as the API shows them."""
    jobs = totals.jobs()
    return StatsResponse(
        total_images=totals.images,
        total_jobs=jobs,
        total_faces_detected=totals.faces,
        avg_inference_ms=round(totals.inference_ms / jobs, 2) if jobs else 0.0,
        storage_used_bytes=totals.used_bytes,
        storage_by_kind={
            "originals": totals.used_bytes - totals.result_bytes,
            "results": totals.result_bytes,
        },
        jobs_by_type={"detect": totals.jobs("detect"), "mask": totals.jobs("mask")},
        jobs_by_method=dict(totals.mask_jobs),
    )


def hourly_response(hours: Sequence[HourOfJobs]) -> HourlyResponse:
    """Hours as the API shows them."""
    return HourlyResponse(
        hours=[HourResponse(start=hour.start, detect=hour.detect_jobs, mask=hour.mask_jobs) for hour in hours]
    )


def stored_image_response(
    image: StoredImage, original_url: str | None, processed_url: str | None
) -> StoredImageResponse:
    """A row and its links as the API shows them."""
    return StoredImageResponse(**_values(image), original_url=original_url, processed_url=processed_url)


def stored_image_detail(image: StoredImageResponse, jobs: Sequence[JobResponse]) -> StoredImageDetailResponse:
    """An image and its jobs as the API shows them."""
    return StoredImageDetailResponse(**dict(image), jobs=jobs)


def job_response(job: StoredJob, processed_url: str | None) -> JobResponse:
    """A row and its link as the API shows them."""
    return JobResponse(
        **_values(job), method=job.blur_method, strength=job.blur_strength, processed_url=processed_url
    )


def job_detail(job: JobResponse, detections: Sequence[dict[str, Any]]) -> JobDetailResponse:
    """A job and its faces as the API shows them."""
    return JobDetailResponse(**dict(job), detections=[Detection(**face) for face in detections])


def _values(row: StoredImage | StoredJob) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(row)}
