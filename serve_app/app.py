"""The FastAPI application: routes, errors and headers; it knows no Ray."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from deployments.types import FacePipeline
from serve_app import errors
from serve_app.access import Access
from serve_app.admission import Admission
from serve_app.batch.response import Batches
from serve_app.database_tier import DatabaseTier
from serve_app.early_refusal import STATE, EarlyRefusal
from serve_app.middleware.request_log import RequestLog
from serve_app.openapi import add_security
from serve_app.ratelimit.client import LedgerPort, RateLimiter
from serve_app.receipts.issue import Receipts
from serve_app.routers import admin_data, api_keys
from serve_app.routers.admin_auth import admin_auth_router
from serve_app.routers.admin_pictures import admin_pictures_router
from serve_app.routers.admin_test import admin_test_router
from serve_app.routers.batch import batch_router
from serve_app.routers.console import console_router
from serve_app.routers.docs import add_docs
from serve_app.routers.health import health_router
from serve_app.routers.images import images_router
from serve_app.routers.receipts import receipts_router
from serve_app.services.processing import Processing
from serve_app.settings import Settings
from serve_app.storage_tier import StorageTier

LIMITER_TIMEOUT_S = 5.0
"""How long a start waits for the limiter; without it the limits are local at first."""


def create_app(settings: Settings, pipeline: FacePipeline, ledger: LedgerPort) -> RequestLog:
    """The ASGI application around a pipeline; its lifespan opens and closes what it needs.

    Args:
        settings: Of the service.
        pipeline: Finds and hides faces.
        ledger: Keeps the counts of the rate limits for all replicas.
    """
    tier = None if settings.database is None else DatabaseTier(settings.database, settings)
    storage = StorageTier(settings, tier) if tier is not None and settings.storage_enabled else None
    limiter = RateLimiter(settings.rate_limits, ledger)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, EarlyRefusal]]:
        if tier is not None:
            await tier.start()
        if storage is not None:
            await storage.start()
        await limiter.announce(LIMITER_TIMEOUT_S)
        yield {STATE: EarlyRefusal(admission, images.routes)}
        if storage is not None:
            await storage.stop()
        if tier is not None:
            await tier.stop()

    app = FastAPI(
        title="Face API",
        version=version("face-api"),
        description="Finds the faces of a picture, or gives it back with every face hidden.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.access = Access(settings, limiter, tier)
    app.state.storage = storage
    admission = Admission(settings)
    processing = Processing(pipeline, None if storage is None else storage.recorder)
    receipts = Receipts(pipeline, settings.receipt_key_file, is_required=settings.receipt_key is not None)
    images = images_router(processing, admission, receipts)
    routers = (
        images,
        batch_router(Batches(processing, admission, settings)),
        receipts_router(receipts),
        admin_auth_router(settings),
        api_keys.router,
        admin_data.router,
        admin_pictures_router(settings),
        admin_test_router(pipeline, admission),
        health_router(pipeline, settings.model, tier, storage),
    )
    for router in routers:
        app.include_router(router)
    app.include_router(console_router())
    add_docs(app)
    add_security(app)
    errors.install(app, [route for router in routers for route in router.routes])
    return RequestLog(app)
