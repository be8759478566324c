"""/api/v1/admin/stats, /images and /jobs: what was stored."""

from collections.abc import Sequence
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from serve_app.access import AdminAuth
from serve_app.openapi import admin_failures, redirect_docs
from serve_app.repositories.images import StoredImage
from serve_app.repositories.jobs import StoredJob
from serve_app.routers.stored import (
    Storage,
    StoredObjects,
    known_image,
    known_job,
    unknown_image,
    unknown_job,
)
from serve_app.schemas.pages import NotFoundError, PageQuery, PaginatedResponse
from serve_app.schemas.storage import (
    HourlyResponse,
    JobDetailResponse,
    JobResponse,
    JobsQuery,
    StatsResponse,
    StoredImageDetailResponse,
    StoredImageResponse,
    hourly_response,
    job_detail,
    job_response,
    stats_response,
    stored_image_detail,
    stored_image_response,
)

HOURS: Final = 24
NO_STORE: Final = {"Cache-Control": "no-store"}  # the link ends before a cache would think so


router = APIRouter(prefix="/api/v1/admin", tags=["stored images"])


@router.get("/stats", summary="Totals", responses=admin_failures(401))
async def get_stats(_: AdminAuth, storage: Storage) -> StatsResponse:
    return stats_response(await storage.statistics.totals())


@router.get("/stats/hourly", summary="Jobs of the last 24 hours", responses=admin_failures(401))
async def get_hourly(_: AdminAuth, storage: Storage) -> HourlyResponse:
    return hourly_response(await storage.statistics.jobs_by_hour(HOURS))


@router.get("/images", summary="Images, newest first", responses=admin_failures(401, 404, 422))
async def list_images(
    _: AdminAuth, storage: Storage, query: Annotated[PageQuery, Query()]
) -> PaginatedResponse[StoredImageResponse]:
    total = (await storage.statistics.totals()).images
    pages = query.pages(total)
    rows = await storage.images.page(query.offset, query.per_page, total)
    items = [await _image(row, storage.objects) for row in rows]
    return PaginatedResponse(items=items, total=total, page=query.page, per_page=query.per_page, pages=pages)


@router.get("/images/{image_id}", summary="An image with its jobs", responses=admin_failures(401, 404, 422))
async def get_image(_: AdminAuth, storage: Storage, image_id: UUID) -> StoredImageDetailResponse:
    image = await known_image(storage, image_id)
    jobs = await storage.jobs.of_image(image_id)
    return stored_image_detail(await _image(image, storage.objects), await _jobs(jobs, storage.objects))


@router.delete(
    "/images/{image_id}",
    summary="Delete an image, its jobs, and what is stored of them, for good",
    status_code=204,
    responses=admin_failures(401, 403, 404, 422),
    response_class=Response,
)
async def delete_image(_: AdminAuth, storage: Storage, image_id: UUID) -> Response:
    if not await storage.delete_image(image_id):
        raise unknown_image(image_id)
    return Response(status_code=204)


@router.get(
    "/images/{image_id}/download",
    summary="Go to the original",
    **redirect_docs("A signed link to the original, as it was sent.", 401, 404, 422),
)
async def download_image(_: AdminAuth, storage: Storage, image_id: UUID) -> Response:
    image = await known_image(storage, image_id)
    if image.s3_key is None:
        raise NotFoundError(f"the original of image {image_id} was not kept")
    return _redirect(await storage.objects.signed_url(image.s3_key, filename=image.filename))


@router.get("/jobs", summary="Jobs, newest first", responses=admin_failures(401, 404, 422))
async def list_jobs(
    _: AdminAuth, storage: Storage, query: Annotated[JobsQuery, Query()]
) -> PaginatedResponse[JobResponse]:
    total = (await storage.statistics.totals()).jobs(query.job_type, query.method)
    pages = query.pages(total)
    rows = await storage.jobs.page(query.offset, query.per_page, total, query.job_type, query.method)
    items = await _jobs(rows, storage.objects)
    return PaginatedResponse(items=items, total=total, page=query.page, per_page=query.per_page, pages=pages)


@router.get("/jobs/{job_id}", summary="A job with its faces", responses=admin_failures(401, 404, 422))
async def get_job(_: AdminAuth, storage: Storage, job_id: UUID) -> JobDetailResponse:
    found = await storage.jobs.get_with_detections(job_id)
    if found is None:
        raise unknown_job(job_id)
    job, detections = found
    return job_detail(job_response(job, await _result_url(job.processed_s3_key, storage.objects)), detections)


@router.get(
    "/jobs/{job_id}/download",
    summary="Go to the masked picture",
    **redirect_docs("A signed link to the masked picture.", 401, 404, 422),
)
async def download_job(_: AdminAuth, storage: Storage, job_id: UUID) -> Response:
    job = await known_job(storage, job_id)
    if job.processed_s3_key is None:
        reason = "a detect job has no picture" if job.job_type == "detect" else "its picture was not kept"
        raise NotFoundError(f"{reason}: {job_id}")
    filename = f"{job_id}.{job.output_format}"
    return _redirect(
        await storage.objects.signed_url(job.processed_s3_key, filename=filename, is_public=True)
    )


async def _image(row: StoredImage, objects: StoredObjects) -> StoredImageResponse:
    original_url = None if row.s3_key is None else await objects.signed_url(row.s3_key)
    return stored_image_response(row, original_url, await _result_url(row.processed_s3_key, objects))


async def _jobs(rows: Sequence[StoredJob], objects: StoredObjects) -> list[JobResponse]:
    return [job_response(row, await _result_url(row.processed_s3_key, objects)) for row in rows]


async def _result_url(key: str | None, objects: StoredObjects) -> str | None:
    return None if key is None else await objects.signed_url(key, is_public=True)


def _redirect(url: str) -> Response:
    return Response(status_code=302, headers={"Location": url, **NO_STORE})
