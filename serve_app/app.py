"""The FastAPI application: routes, errors and headers; it knows no Ray."""

from importlib.metadata import version

from fastapi import FastAPI

from deployments.types import FacePipeline
from serve_app import errors
from serve_app.admission import Admission
from serve_app.middleware.request_log import RequestLog
from serve_app.routers.docs import add_docs
from serve_app.routers.health import health_router
from serve_app.routers.images import images_router
from serve_app.settings import Settings


def create_app(settings: Settings, pipeline: FacePipeline) -> RequestLog:
    """The ASGI application around a pipeline."""
    app = FastAPI(
        title="Face API",
        version=version("face-api"),
        description="Finds the faces of a picture, or gives it back with every face hidden.",
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(images_router(pipeline, Admission(settings)))
    app.include_router(health_router(pipeline, settings.model))
    add_docs(app)
    errors.install(app)
    return RequestLog(app)
