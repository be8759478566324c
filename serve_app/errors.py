"""Which error becomes which status, and the envelope every failing response wears."""

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from deployments.errors import (
    ChoiceError,
    DeadlineExceededError,
    ImageDecodeError,
    ImageTooLargeError,
    LosslessRefusedError,
    LosslessUnavailableError,
    OverloadedError,
    ResidualFacesError,
    UncertainFacesError,
    UnencodableError,
    UnsupportedFormatError,
)
from models.errors import FaceError, ModelError
from serve_app.access import ForbiddenError, TierOffError, UnauthorizedError
from serve_app.body import (
    BodyTooLargeError,
    ClientDisconnectedError,
    EmptyUploadError,
    MalformedBodyError,
    UnsupportedBodyError,
)
from serve_app.database import DatabaseUnavailableError
from serve_app.retry_later import RetryLaterError
from serve_app.schemas.pages import NotFoundError
from serve_app.services.admin import WrongCredentialsError
from serve_app.storage.objects import StorageUnavailableError

STATUS_BY_ERROR: Final[dict[type[FaceError], int]] = {
    EmptyUploadError: 400,
    ImageDecodeError: 400,
    UnauthorizedError: 401,
    WrongCredentialsError: 401,
    ForbiddenError: 403,
    NotFoundError: 404,
    BodyTooLargeError: 413,
    ImageTooLargeError: 413,
    UnsupportedBodyError: 415,
    UnsupportedFormatError: 415,
    LosslessRefusedError: 415,
    ChoiceError: 422,
    MalformedBodyError: 422,
    ResidualFacesError: 422,
    UncertainFacesError: 422,
    UnencodableError: 422,
    RetryLaterError: 429,
    ClientDisconnectedError: 499,  # nobody reads it; it is what the log says
    TierOffError: 501,
    LosslessUnavailableError: 501,
    DatabaseUnavailableError: 503,
    OverloadedError: 503,
    StorageUnavailableError: 503,
    ModelError: 503,
    DeadlineExceededError: 504,
    FaceError: 500,
}
INTERNAL: Final = "internal error; the picture was not processed. Quote the X-Request-Id of this answer."
RETRY_AFTER: Final = {"Retry-After": "1"}
CHALLENGE: Final = {"WWW-Authenticate": 'FaceApi realm="face-api"'}
"""RFC 9110 wants one with each 401. Not `Basic`: browsers would open a window of their own."""

UNEXPECTED: Final = "internal"
HTTP_REASONS: Final = {404: "no_such_path", 405: "method_not_allowed"}

logger = logging.getLogger("face_api.errors")


def status_of(error: FaceError) -> int:
    """The status of an error or of its nearest ancestor in the table."""
    return next(STATUS_BY_ERROR[kind] for kind in type(error).__mro__ if kind in STATUS_BY_ERROR)


def reason_of(error: FaceError) -> str:
    """Why a request failed, as logs and metrics say it: `ImageTooLargeError` is `image_too_large`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower()


def note_reason(request: Request, reason: str) -> None:
    """Leave the reason of a failure where `middleware.request_log` finds it."""
    request.scope.setdefault("state", {})["reason"] = reason


def error_response(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """The envelope `{"detail": "..."}`; 503 says when to come back."""
    extra = {**(RETRY_AFTER if status == 503 else {}), **(headers or {})}
    body = json.dumps({"detail": detail}, ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, status, extra, media_type="application/json")


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Answer every failure of the app with the envelope; a 405 names every method of its path.

    Args:
        app: The application.
        routes: Of its API.
    """

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
        return _http_error(request, error, routes)

    app.add_exception_handler(FaceError, _face_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, _unexpected)


async def _face_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FaceError)  # noqa: S101 - registered for it
    note_reason(request, reason_of(error))
    status, detail = failure_of(error, _request_id(request))
    return error_response(status, detail, _extra_headers(status, error))


def failure_of(error: Exception, request_id: str) -> tuple[int, str]:
    """Status and detail of what failed; what the caller cannot mend is logged, and only there."""
    if not isinstance(error, FaceError):
        logger.error(json.dumps({"event": "unexpected error", "request_id": request_id}), exc_info=error)
        return 500, INTERNAL
    status = status_of(error)
    if status != 500 and not isinstance(error, ModelError):
        return status, str(error)
    logger.error(json.dumps({"event": "stage failed", "request_id": request_id, "error": str(error)}))
    return status, INTERNAL if status == 500 else "the model is not ready"


def _extra_headers(status: int, error: FaceError) -> dict[str, str]:
    if isinstance(error, RetryLaterError):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
    return CHALLENGE if status == 401 else {}


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    note_reason(request, "invalid_parameter")
    problems = "; ".join(
        f"{'.'.join(str(part) for part in problem['loc'][1:])}: {problem['msg']}"
        for problem in error.errors()
    )
    return error_response(422, problems)


def _http_error(request: Request, error: HTTPException, routes: Sequence[BaseRoute]) -> Response:
    detail, headers = str(error.detail), dict(error.headers or {})
    note_reason(request, HTTP_REASONS.get(error.status_code, f"http_{error.status_code}"))
    if error.status_code == 404:
        detail = "no such path; /docs lists what there is"
    elif error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods(request, routes))) or headers.get("Allow", "")
        detail = f"{request.method} is not allowed here; use {headers['Allow'] or 'another method'}"
    return error_response(error.status_code, detail, headers)


def _methods(request: Request, routes: Sequence[BaseRoute]) -> set[str]:
    """What the path of a request understands; Starlette names the methods of one of its routes."""
    matching = (route for route in routes if route.matches(request.scope)[0] is not Match.NONE)
    return {method for route in matching for method in getattr(route, "methods", None) or ()}


async def _unexpected(request: Request, error: Exception) -> Response:
    note_reason(request, UNEXPECTED)
    return error_response(*failure_of(error, _request_id(request)))


def _request_id(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", ""))
