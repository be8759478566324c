"""GET /health, /livez and /readyz."""

import json

from fastapi import APIRouter
from starlette.responses import Response

from deployments.types import FacePipeline
from models.errors import FaceError
from models.types import INPUT_SIZE
from serve_app.database_tier import DatabaseTier
from serve_app.errors import RETRY_AFTER, error_response
from serve_app.openapi import health_docs, livez_docs, readyz_docs
from serve_app.readiness import Readiness
from serve_app.storage_tier import StorageTier


def health_router(
    pipeline: FacePipeline,
    configured_model: str | None,
    tier: DatabaseTier | None,
    storage: StorageTier | None,
) -> APIRouter:
    """The routes that orchestrators and operators ask."""
    router = APIRouter(tags=["health"])
    readiness = Readiness(pipeline)

    @router.get("/health", summary="The model and every tier", **health_docs())
    async def health() -> Response:
        try:
            model = await pipeline.served_model()
        except FaceError:
            model = None
        database_ready = None if tier is None else await tier.is_ready()
        storage_ready = None if storage is None else await storage.objects.is_ready()
        is_ok = model is not None and database_ready is not False and storage_ready is not False
        body = {
            "status": "ok" if is_ok else "degraded",
            "model": model.name if model else configured_model,
            "model_loaded": model is not None,
            "model_licence": model.licence if model else None,
            "input_size": [INPUT_SIZE, INPUT_SIZE],
            "supports_landmarks": model is not None and model.supports_landmarks,
            "provider": model.provider if model else None,
            "database_enabled": tier is not None,
            "database_ready": database_ready,
            "storage_enabled": storage is not None,
            "storage_ready": storage_ready,
        }
        headers = {} if is_ok else RETRY_AFTER
        return Response(json.dumps(body), 200 if is_ok else 503, headers, media_type="application/json")

    @router.get("/livez", summary="Whether this process answers", **livez_docs())
    async def livez() -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    @router.get("/readyz", summary="Whether a picture goes through the pipeline", **readyz_docs())
    async def readyz() -> Response:
        if await readiness.check():
            return Response(b'{"status":"ok"}', media_type="application/json")
        return error_response(503, "no picture went through the pipeline just now")

    return router
