"""POST /api/v1/admin/test/mask and /detect: try every option on a picture of one's own. Stores nothing."""

from collections.abc import Awaitable
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from deployments.types import Anonymised, FacePipeline
from serve_app.access import AdminAuth
from serve_app.admission import Admission
from serve_app.body import Upload
from serve_app.openapi import detect_test_docs, mask_test_docs
from serve_app.routers.images import note_result
from serve_app.schemas.detect import DetectQuery, detect_body
from serve_app.schemas.mask import MaskQuery, mask_body
from serve_app.services.recording import NOTHING


def admin_test_router(pipeline: FacePipeline, admission: Admission) -> APIRouter:
    """The routes behind the console's test page."""
    router = APIRouter(prefix="/api/v1/admin/test", tags=["admin"])

    @router.post("/mask", summary="Faces and masked picture in one answer", **mask_test_docs())
    async def test_mask(request: Request, _: AdminAuth, query: Annotated[MaskQuery, Query()]) -> Response:
        params, masking = query.detect_params(), query.mask_params()

        def work(upload: Upload, left_s: float) -> Awaitable[Anonymised]:
            return pipeline.mask(upload.data, params, replace(masking, fill_image=upload.fill_image), left_s)

        result = await admission.run(request, work, query.detail)
        note_result(request, result.value, NOTHING, result.total_ms)
        request_id = request.scope["state"]["request_id"]
        body = mask_body(request_id, result.value, params, masking, result.total_ms)
        return Response(body, media_type="application/json")

    @router.post("/detect", summary="Faces, without an API key", **detect_test_docs())
    async def test_detect(request: Request, _: AdminAuth, query: Annotated[DetectQuery, Query()]) -> Response:
        params = query.detect_params()
        result = await admission.run(
            request, lambda upload, left_s: pipeline.detect(upload.data, params, left_s), query.detail
        )
        note_result(request, result.value, NOTHING, result.total_ms)
        body = detect_body(request.scope["state"]["request_id"], result.value, params, result.total_ms)
        return Response(body, media_type="application/json")

    return router
