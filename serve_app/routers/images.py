"""POST /api/v1/detect and /api/v1/mask."""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from deployments import tracing
from deployments.errors import ChoiceError
from deployments.types import Analysed, Anonymised
from serve_app.access import Caller, DetectCaller, MaskCaller
from serve_app.admission import Admission
from serve_app.body import Upload
from serve_app.openapi import detect_docs, mask_docs
from serve_app.receipts.issue import Receipts
from serve_app.routers.stored import storage_of
from serve_app.schemas.detect import DetectQuery, detect_body
from serve_app.schemas.mask import MaskImageQuery, choice_headers, mask_body
from serve_app.services.originals import stored_upload
from serve_app.services.processing import Hidden, Processing
from serve_app.services.recording import Recorded
from serve_app.stage_times import stage_times

MEDIA_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


def images_router(processing: Processing, admission: Admission, receipts: Receipts) -> APIRouter:
    """The routes that take pictures."""
    router = APIRouter(prefix="/api/v1", tags=["faces"])

    @router.post("/detect", summary="Find the faces of a picture", **detect_docs())
    async def detect(
        request: Request, caller: DetectCaller, query: Annotated[DetectQuery, Query()]
    ) -> Response:
        params = query.detect_params()
        done = await admission.run(
            request,
            lambda upload, left_s: processing.detect(upload, params, query.store, caller.key_id, left_s),
            query.detail,
        )
        analysed, recorded = done.value.analysed, done.value.recorded
        note_result(request, analysed, recorded, done.total_ms)
        request_id = request.scope["state"]["request_id"]
        body = detect_body(request_id, analysed, params, done.total_ms, recorded)
        return Response(body, media_type="application/json")

    @router.post("/mask", summary="Get a picture back with every face hidden", **mask_docs())
    async def mask(
        request: Request, caller: MaskCaller, query: Annotated[MaskImageQuery, Query()]
    ) -> Response:
        params, masking = query.detect_params(), query.mask_params()
        request_id = request.scope["state"]["request_id"]
        if query.receipt:
            receipts.check()

        async def work(upload: Upload, left_s: float) -> tuple[Hidden, str | None]:
            hidden = await processing.mask(upload, params, masking, query.store, caller.key_id, left_s)
            if not query.receipt:
                return hidden, None
            return hidden, await receipts.issue(request_id, upload.data, hidden.anonymised, query)

        done = await admission.run(request, work, query.detail, _fetch(request, query.image_id, caller))
        hidden, receipt = done.value
        anonymised, recorded = hidden.anonymised, hidden.recorded
        analysed, masked = anonymised.analysed, anonymised.masked
        stages = note_result(request, anonymised, recorded, done.total_ms)
        headers: dict[str, Any] = {
            "X-Face-Count": str(len(analysed.inferred.detections.boxes)),
            "X-Inference-Ms": f"{analysed.inferred.inference_ms:.2f}",
            "X-Mask-Ms": f"{masked.mask_ms:.2f}",
            "X-Encode-Ms": f"{masked.encode_ms:.2f}",
            "X-Total-Ms": f"{done.total_ms:.2f}",
            "X-Model": analysed.inferred.model,
            "Server-Timing": server_timing(stages),
            **choice_headers(anonymised),
        }
        if masking.lossless:
            headers["X-Lossless"] = "true"
        if analysed.inferred.uncertain is not None:
            headers["X-Uncertain-Faces"] = str(len(analysed.inferred.uncertain.boxes))
        if recorded.image_id is not None:
            headers |= {"X-Image-Id": str(recorded.image_id), "X-Job-Id": str(recorded.job_id)}
        if receipt is not None:
            body = mask_body(request_id, anonymised, params, masking, done.total_ms, recorded, receipt)
            return Response(body, headers=headers, media_type="application/json")
        return Response(masked.data, headers=headers, media_type=MEDIA_TYPES[masking.format])

    return router


def _fetch(request: Request, image_id: UUID | None, caller: Caller) -> Callable[[], Awaitable[Upload]] | None:
    """How to get a stored picture; None when the client sends one."""
    if image_id is None:
        return None
    storage = storage_of(request)
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        raise ChoiceError("image_id takes the place of a picture: send it without a body")
    return lambda: stored_upload(image_id, caller.key_id, storage.images, storage.objects)


def note_result(
    request: Request, result: Analysed | Anonymised, recorded: Recorded, total_ms: float
) -> dict[str, float]:
    """Leave what logs and metrics say of an answered picture; its stage times."""
    analysed = result.analysed if isinstance(result, Anonymised) else result
    stages = stage_times(result, recorded, total_ms)
    if recorded.storage_ms is not None and tracing.is_on():
        began_s = time.perf_counter() - recorded.storage_ms / 1e3
        tracing.add_stages(began_s, {"storage": recorded.storage_ms})
    request.scope["state"] |= {
        "stages": stages,
        "faces": len(analysed.inferred.detections.boxes),
        "input_bytes": analysed.info.size_bytes,
        "width": analysed.info.width,
        "height": analysed.info.height,
    }
    return stages


def server_timing(stages: dict[str, float]) -> str:
    """Every stage of a masked picture in milliseconds, as the header browsers and proxies know."""
    return ", ".join(f"{stage};dur={value:.2f}" for stage, value in stages.items())
