"""POST /api/v1/detect and /api/v1/mask."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from deployments.types import Anonymised, FacePipeline
from serve_app.access import DetectCaller, MaskCaller
from serve_app.admission import Admission
from serve_app.openapi import detect_docs, mask_docs
from serve_app.schemas.detect import DetectQuery, detect_body
from serve_app.schemas.mask import MaskQuery

MEDIA_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


def images_router(pipeline: FacePipeline, admission: Admission) -> APIRouter:
    """The routes that take pictures."""
    router = APIRouter(prefix="/api/v1", tags=["faces"])

    @router.post("/detect", summary="Find the faces of a picture", **detect_docs())
    async def detect(request: Request, _: DetectCaller, query: Annotated[DetectQuery, Query()]) -> Response:
        params = query.detect_params()
        found = await admission.run(request, lambda data, left_s: pipeline.detect(data, params, left_s))
        body = detect_body(request.scope["state"]["request_id"], found.value, params, found.total_ms)
        return Response(body, media_type="application/json")

    @router.post("/mask", summary="Get a picture back with every face hidden", **mask_docs())
    async def mask(request: Request, _: MaskCaller, query: Annotated[MaskQuery, Query()]) -> Response:
        params, masking = query.detect_params(), query.mask_params()
        result = await admission.run(
            request, lambda data, left_s: pipeline.mask(data, params, masking, left_s)
        )
        analysed, masked = result.value.analysed, result.value.masked
        headers: dict[str, Any] = {
            "X-Face-Count": str(len(analysed.inferred.detections.boxes)),
            "X-Inference-Ms": f"{analysed.inferred.inference_ms:.2f}",
            "X-Mask-Ms": f"{masked.mask_ms:.2f}",
            "X-Encode-Ms": f"{masked.encode_ms:.2f}",
            "X-Total-Ms": f"{result.total_ms:.2f}",
            "X-Model": analysed.inferred.model,
            "Server-Timing": server_timing(result.value, result.total_ms),
        }
        return Response(masked.data, headers=headers, media_type=MEDIA_TYPES[masking.format])

    return router


def server_timing(result: Anonymised, total_ms: float) -> str:
    """Every stage of a masked picture in milliseconds, as the header browsers and proxies know."""
    analysed, inferred = result.analysed, result.analysed.inferred
    stages = {
        "decode": analysed.decode_ms,
        "preprocess": analysed.preprocess_ms,
        "queue": inferred.queue_ms,
        "blob": inferred.blob_ms,
        "inference": inferred.inference_ms,
        "postprocess": inferred.detections.postprocess_ms,
        "nms": inferred.detections.nms_ms,
        "mask": result.masked.mask_ms,
        "encode": result.masked.encode_ms,
        "total": total_ms,
    }
    return ", ".join(f"{stage};dur={value:.2f}" for stage, value in stages.items())
