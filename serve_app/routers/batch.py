"""POST /api/v1/batch."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from deployments.errors import ChoiceError
from serve_app.access import BatchCaller
from serve_app.batch.response import Batches, BatchResponse
from serve_app.openapi import batch_docs
from serve_app.schemas.batch import OF_ONE_PICTURE, BatchQuery


def batch_router(batches: Batches) -> APIRouter:
    """The route that takes many pictures at once."""
    router = APIRouter(prefix="/api/v1", tags=["faces"])

    @router.post("/batch", summary="Find or hide the faces of many pictures", **batch_docs())
    async def batch(request: Request, caller: BatchCaller, query: Annotated[BatchQuery, Query()]) -> Response:
        if not OF_ONE_PICTURE.isdisjoint(request.query_params):
            raise ChoiceError("skip, only and face_count are of one picture; send that to /mask")
        if query.fill == "image":
            raise ChoiceError("fill=image comes with one picture; send that to /mask")
        return BatchResponse(batches, request, caller, query)

    return router
