"""POST /api/v1/batch."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from serve_app.access import BatchCaller
from serve_app.batch.response import Batches, BatchResponse
from serve_app.openapi import batch_docs
from serve_app.schemas.batch import BatchQuery


def batch_router(batches: Batches) -> APIRouter:
    """The route that takes many pictures at once."""
    router = APIRouter(prefix="/api/v1", tags=["faces"])

    @router.post("/batch", summary="Find or hide the faces of many pictures", **batch_docs())
    async def batch(request: Request, caller: BatchCaller, query: Annotated[BatchQuery, Query()]) -> Response:
        return BatchResponse(batches, request, caller, query)

    return router
