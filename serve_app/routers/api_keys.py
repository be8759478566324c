"""/api/v1/admin/api-keys, and /usage of all keys together."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from serve_app.access import AdminAuth, Keys
from serve_app.json_body import json_body, json_docs
from serve_app.openapi import admin_failures
from serve_app.schemas.admin import (
    ApiKeyCreate,
    ApiKeyCreatedResponse,
    ApiKeyResponse,
    ApiKeyUpdate,
    UsageResponse,
    api_key_created,
    api_key_response,
    usage_response,
)
from serve_app.schemas.pages import NotFoundError, PageQuery, PaginatedResponse
from serve_app.services.api_keys import create_key

router = APIRouter(prefix="/api/v1/admin", tags=["API keys"])


@router.post(
    "/api-keys",
    summary="Make a key; its answer alone shows it whole",
    status_code=201,
    responses=admin_failures(401, 403, 413, 415, 422, 429),
    openapi_extra=json_docs(ApiKeyCreate, {"name": "Production App"}),
)
async def create_api_key(
    _: AdminAuth, keys: Keys, body: Annotated[ApiKeyCreate, Depends(json_body(ApiKeyCreate))]
) -> ApiKeyCreatedResponse:
    return api_key_created(*await create_key(keys, body.name))


@router.get("/api-keys", summary="Keys, newest first", responses=admin_failures(401, 404, 422, 429))
async def list_api_keys(
    _: AdminAuth, keys: Keys, query: Annotated[PageQuery, Query()]
) -> PaginatedResponse[ApiKeyResponse]:
    total = await keys.count()
    pages = query.pages(total)
    rows = await keys.page(query.offset, query.per_page)
    items = [api_key_response(row) for row in rows]
    return PaginatedResponse(items=items, total=total, page=query.page, per_page=query.per_page, pages=pages)


@router.get("/usage", summary="All keys together", responses=admin_failures(401, 429))
async def get_usage(_: AdminAuth, keys: Keys) -> UsageResponse:
    return usage_response(await keys.totals())


@router.get("/api-keys/{key_id}", summary="One key", responses=admin_failures(401, 404, 422, 429))
async def get_api_key(_: AdminAuth, keys: Keys, key_id: UUID) -> ApiKeyResponse:
    key = await keys.get(key_id)
    if key is None:
        raise _unknown(key_id)
    return api_key_response(key)


@router.patch(
    "/api-keys/{key_id}",
    summary="Rename, revoke or restore a key",
    responses=admin_failures(401, 403, 404, 413, 415, 422, 429),
    openapi_extra=json_docs(ApiKeyUpdate, {"name": "Old app", "is_active": False}),
)
async def update_api_key(
    _: AdminAuth, keys: Keys, key_id: UUID, body: Annotated[ApiKeyUpdate, Depends(json_body(ApiKeyUpdate))]
) -> ApiKeyResponse:
    key = await keys.update(key_id, body.changes())
    if key is None:
        raise _unknown(key_id)
    return api_key_response(key)


@router.delete(
    "/api-keys/{key_id}",
    summary="Delete a key for good",
    status_code=204,
    responses=admin_failures(401, 403, 404, 422, 429),
    response_class=Response,
)
async def delete_api_key(_: AdminAuth, keys: Keys, key_id: UUID) -> Response:
    if not await keys.delete(key_id):
        raise _unknown(key_id)
    return Response(status_code=204)


def _unknown(key_id: UUID) -> NotFoundError:
    return NotFoundError(f"there is no API key {key_id}")
