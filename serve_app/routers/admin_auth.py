"""/api/v1/admin/auth: log in, log out, and who is logged in."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from serve_app.access import COOKIE, AdminAuth, access_of, refuse_cross_site, session_token
from serve_app.client_address import is_https
from serve_app.json_body import json_body, json_docs
from serve_app.openapi import admin_failures
from serve_app.schemas.admin import LoginRequest, SessionResponse
from serve_app.settings import Settings


def admin_auth_router(settings: Settings) -> APIRouter:
    """The routes of the login page."""
    router = APIRouter(prefix="/api/v1/admin/auth", tags=["admin"])

    def with_cookie(request: Request, value: str, max_age_s: int) -> Response:
        response = Response(status_code=204)
        response.set_cookie(
            COOKIE,
            value,
            max_age=max_age_s,
            path="/",
            secure=is_https(request, settings.trusted_proxies),
            httponly=True,
            samesite="strict",
        )
        return response

    @router.post(
        "/login",
        summary="Begin a session",
        status_code=204,
        responses=admin_failures(400, 401, 403, 413, 415, 422, 429),
        openapi_extra=json_docs(LoginRequest, {"username": "admin", "password": "correct horse"}),
        response_class=Response,
    )
    async def login(
        request: Request, credentials: Annotated[LoginRequest, Depends(json_body(LoginRequest))]
    ) -> Response:
        refuse_cross_site(request)
        access = access_of(request)
        accounts, address = access.accounts(), access.address(request)
        await accounts.refuse_blocked(address)
        await access.limit(request, "login", address)
        token = await accounts.begin_session(credentials.username, credentials.password, address)
        return with_cookie(request, token, settings.admin_session_ttl_s)

    @router.get("/session", summary="Who is logged in", responses=admin_failures(401, 429))
    async def session(admin: AdminAuth) -> SessionResponse:
        return SessionResponse(authenticated=True, username=admin.username)

    @router.post(
        "/logout",
        summary="End the session",
        status_code=204,
        responses=admin_failures(401, 403),
        response_class=Response,
    )
    async def logout(request: Request) -> Response:
        refuse_cross_site(request)
        accounts, token = access_of(request).accounts(), session_token(request)
        if token is not None:
            await accounts.end_session(token)
        return with_cookie(request, "", 0)

    return router
