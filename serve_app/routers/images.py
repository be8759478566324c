"""POST /api/v1/detect and /api/v1/mask."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from deployments import tracing
from deployments.types import Analysed, Anonymised
from serve_app.access import DetectCaller, MaskCaller
from serve_app.admission import Admission
from serve_app.openapi import detect_docs, mask_docs
from serve_app.schemas.detect import DetectQuery, detect_body
from serve_app.schemas.mask import MaskQuery, choice_headers
from serve_app.services.processing import Processing
from serve_app.services.recording import Recorded
from serve_app.stage_times import stage_times

MEDIA_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


def images_router(processing: Processing, admission: Admission) -> APIRouter:
    """The routes that take pictures."""
    router = APIRouter(prefix="/api/v1", tags=["faces"])

    @router.post("/detect", summary="Find the faces of a picture", **detect_docs())
    async def detect(request: Request, _: DetectCaller, query: Annotated[DetectQuery, Query()]) -> Response:
        params = query.detect_params()
        done = await admission.run(
            request,
            lambda upload, left_s: processing.detect(upload, params, query.store, left_s),
            query.detail,
        )
        analysed, recorded = done.value.analysed, done.value.recorded
        note_result(request, analysed, recorded, done.total_ms)
        request_id = request.scope["state"]["request_id"]
        body = detect_body(request_id, analysed, params, done.total_ms, recorded)
        return Response(body, media_type="application/json")

    @router.post("/mask", summary="Get a picture back with every face hidden", **mask_docs())
    async def mask(request: Request, _: MaskCaller, query: Annotated[MaskQuery, Query()]) -> Response:
        params, masking = query.detect_params(), query.mask_params()
        done = await admission.run(
            request,
            lambda upload, left_s: processing.mask(upload, params, masking, query.store, left_s),
            query.detail,
        )
        anonymised, recorded = done.value.anonymised, done.value.recorded
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
        return Response(masked.data, headers=headers, media_type=MEDIA_TYPES[masking.format])

    return router


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
