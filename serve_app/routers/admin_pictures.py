"""Stored pictures through this server: for the console, whose browser may not reach the object store."""

from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from serve_app.access import AdminAuth
from serve_app.openapi import picture_docs
from serve_app.routers.stored import Storage, StoredObjects, known_image, known_job
from serve_app.schemas.pages import NotFoundError
from serve_app.services import preview
from serve_app.settings import Settings
from serve_app.storage.names import content_disposition

CACHED: Final = {"Cache-Control": "private, max-age=900"}
"""What lies under an id never changes; but a browser need not keep faces for long."""
LOCKED: Final = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox"}
"""The bytes are a client's: whatever they are, nothing in them may run here."""


class Side(BaseModel):
    """How large a preview may be."""

    side: Annotated[
        int, Field(ge=16, le=2048, description="Of the square the picture fits into, pixels.")
    ] = 320


class ImageSide(Side):
    """Which preview of an image."""

    of: Annotated[
        Literal["original", "result"], Field(description="What was sent, or the latest result.")
    ] = "original"


def admin_pictures_router(settings: Settings) -> APIRouter:
    """The routes that send stored pictures."""
    router = APIRouter(prefix="/api/v1/admin", tags=["stored images"])

    async def small(data: bytes, side: int) -> Response:
        body = await preview.preview(data, side, settings.max_image_pixels)
        return Response(body, media_type=preview.MEDIA_TYPE, headers={**CACHED, **LOCKED})

    @router.get("/images/{image_id}/preview", summary="A small picture of an image", **picture_docs("webp"))
    async def preview_image(
        _: AdminAuth, storage: Storage, image_id: UUID, query: Annotated[ImageSide, Query()]
    ) -> Response:
        image = await known_image(storage, image_id)
        key = image.s3_key if query.of == "original" else image.processed_s3_key
        return await small(
            await _read(storage.objects, key, f"the {query.of} of image {image_id}"), query.side
        )

    @router.get("/images/{image_id}/content", summary="The original, as it was sent", **picture_docs("*"))
    async def image_content(_: AdminAuth, storage: Storage, image_id: UUID) -> Response:
        image = await known_image(storage, image_id)
        data = await _read(storage.objects, image.s3_key, f"the original of image {image_id}")
        return _saved(data, image.filename, image.content_type)

    @router.get("/jobs/{job_id}/preview", summary="A small picture of a result", **picture_docs("webp"))
    async def preview_job(
        _: AdminAuth, storage: Storage, job_id: UUID, query: Annotated[Side, Query()]
    ) -> Response:
        job = await known_job(storage, job_id)
        return await small(
            await _read(storage.objects, job.processed_s3_key, f"the result of job {job_id}"), query.side
        )

    @router.get("/jobs/{job_id}/content", summary="The masked picture", **picture_docs("*"))
    async def job_content(_: AdminAuth, storage: Storage, job_id: UUID) -> Response:
        job = await known_job(storage, job_id)
        data = await _read(storage.objects, job.processed_s3_key, f"the result of job {job_id}")
        return _saved(data, f"{job_id}.{job.output_format}", f"image/{job.output_format}")

    return router


async def _read(objects: StoredObjects, key: str | None, what: str) -> bytes:
    if key is None:
        raise NotFoundError(f"{what} was not kept")
    data = await objects.get(key)
    if data is None:
        raise NotFoundError(f"{what} is gone from the object store")
    return data


def _saved(data: bytes, filename: str, media_type: str) -> Response:
    headers = {**CACHED, **LOCKED, "Content-Disposition": content_disposition(filename)}
    return Response(data, media_type=media_type, headers=headers)
