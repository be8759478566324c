"""Who may ask: authority as parameter types of the routes.

`DetectCaller`, `MaskCaller` and `BatchCaller` hold an API key within its rate limit; `AdminAuth` proved
to be the administrator. A route without one of them is open to everybody.
"""

import base64
import binascii
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Request

from models.errors import FaceError
from serve_app.client_address import client_subject
from serve_app.database_tier import DatabaseTier
from serve_app.ratelimit.client import RateLimiter
from serve_app.repositories.api_keys import ApiKeyRepository
from serve_app.retry_later import RetryLaterError
from serve_app.services.admin import Admin, AdminAccounts
from serve_app.services.api_keys import has_key_form
from serve_app.settings import Settings

COOKIE: Final = "face_api_session"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
SAME_SITE: Final = frozenset({"same-origin", "none"})  # `none`: typed by the user


class UnauthorizedError(FaceError):
    """No key, session or password, or a wrong one."""


class ForbiddenError(FaceError):
    """Known, but not allowed."""


class RevokedKeyError(ForbiddenError):
    """The API key is not active any more."""


class TierOffError(FaceError):
    """What this needs is switched off."""


class RateLimitedError(RetryLaterError):
    """The caller's share is used up."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who may send pictures."""

    key_id: UUID | None  # None while API keys are switched off
    subject: str  # what rate limits count as one


class Access:
    """Decides for one ingress replica."""

    def __init__(self, settings: Settings, limiter: RateLimiter, tier: DatabaseTier | None) -> None:
        self._settings = settings
        self._limiter = limiter
        self._tier = tier

    async def caller(self, request: Request, route: str) -> Caller:
        """Check the API key, then count the request.

        Raises:
            UnauthorizedError, ForbiddenError, RateLimitedError, DatabaseUnavailableError: See each.
        """
        if not self._settings.api_key_enabled:
            address = self.address(request)
            await self.limit(request, route, address)
            return Caller(None, address)
        tier = self.database_tier()
        given = request.headers.getlist("x-api-key")
        key = await tier.key_cache.find(given[0]) if len(given) == 1 and has_key_form(given[0]) else None
        if key is None:
            await self.limit(request, route, self.address(request))
            raise UnauthorizedError(
                "the API key is unknown" if given else "an API key is needed; send it as X-API-Key"
            )
        if not key.is_active:
            raise RevokedKeyError("the API key was revoked")
        request.scope["state"]["key_id"] = str(key.id)
        await self.limit(request, route, key.id.hex)
        tier.key_usage.add(key.id)
        return Caller(key.id, key.id.hex)

    async def let_in(
        self, request: Request, route: str, caller: Caller, count: int
    ) -> tuple[int, RateLimitedError | None]:
        """How many more requests of a caller may pass, up to `count`, and why the others may not."""
        for allowed in range(count):
            try:
                await self.limit(request, route, caller.subject)
            except RateLimitedError as error:
                return allowed, error
            if caller.key_id is not None:
                self.database_tier().key_usage.add(caller.key_id)
        return count, None

    async def admin(self, request: Request) -> Admin:
        """The administrator, by HTTP Basic or by the session cookie.

        Raises:
            TierOffError, UnauthorizedError, ForbiddenError, LockedOutError, DatabaseUnavailableError.
        """
        accounts = self.accounts()
        authorization = request.headers.getlist("authorization")
        if authorization:
            refuse_cross_site(request)  # browsers remember passwords of addresses, and send them unasked
            username, password = _basic(authorization)
            return await accounts.check(username, password, self.address(request))
        token = session_token(request)
        if token is None:
            raise UnauthorizedError("log in first: send HTTP Basic, or the cookie of a session")
        refuse_cross_site(request)
        admin = await accounts.of_session(token)
        if admin is None:
            raise UnauthorizedError("the session has ended; log in again")
        return admin

    async def limit(self, request: Request, route: str, subject: str) -> None:
        """Count one request of a subject; its answer says what is left.

        Raises:
            RateLimitedError: Nothing is left.
        """
        decision = await self._limiter.take(route, subject)
        if decision is None:
            return
        request.scope["state"]["headers"] = decision.headers()
        if not decision.allowed:
            limit = getattr(self._settings, f"rate_limit_{route}")
            raise RateLimitedError(f"the limit of {limit} is used up", decision.retry_after_s)

    def database_tier(self) -> DatabaseTier:
        """The database tier; TierOffError when there is none."""
        if self._tier is None:
            raise TierOffError("there is no database here: FACE_API_DATABASE_URL is not set")
        return self._tier

    def accounts(self) -> AdminAccounts:
        """The administrator's account; TierOffError when there is none."""
        accounts = self.database_tier().accounts
        if accounts is None:
            raise TierOffError("there is no administrator here: FACE_API_ADMIN_PASSWORD is not set")
        return accounts

    def address(self, request: Request) -> str:
        """What limits and lockouts count as one client."""
        return client_subject(request, self._settings.trusted_proxies)


def session_token(request: Request) -> str | None:
    """The session cookie; None without one.

    Raises:
        UnauthorizedError: There are several, so one was slipped in.
    """
    pairs = (pair.strip().partition("=") for pair in "; ".join(request.headers.getlist("cookie")).split(";"))
    tokens = [value for name, _, value in pairs if name == COOKIE]
    if len(tokens) > 1:
        raise UnauthorizedError("there is more than one session cookie; clear them and log in again")
    return tokens[0] if tokens and tokens[0] else None


def refuse_cross_site(request: Request) -> None:
    """Refuse what another site's page made the browser send.

    Raises:
        ForbiddenError: The method is unsafe and the request came from elsewhere.
    """
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site")
    if site is None:  # an old browser, or none
        origin = request.headers.get("origin")
        is_own = origin is None or origin.partition("://")[2] == request.headers.get("host")
    else:
        is_own = site in SAME_SITE
    if not is_own:
        raise ForbiddenError("this request came from another site")


def _basic(headers: list[str]) -> tuple[str, str]:
    """User name and password of an Authorization header (RFC 7617)."""
    scheme, _, encoded = headers[0].partition(" ")
    try:
        if len(headers) > 1 or scheme.lower() != "basic":
            raise ValueError("another scheme")
        username, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        if not colon:
            raise ValueError("no colon")
    except (ValueError, binascii.Error) as error:
        raise UnauthorizedError("the Authorization header is no HTTP Basic") from error
    return username, password


def access_of(request: Request) -> Access:
    """The Access of the application that serves a request."""
    access: Access = request.app.state.access
    return access


def _caller(route: str) -> Callable[[Request], Coroutine[Any, Any, Caller]]:
    async def check(request: Request) -> Caller:
        return await access_of(request).caller(request, route)

    return check


async def _batch_caller(request: Request) -> Caller:
    """Counts the first picture of a batch; an unknown task is refused as every wrong parameter is."""
    is_detect = request.query_params.get("task") == "detect"
    return await access_of(request).caller(request, "detect" if is_detect else "mask")


async def _admin(request: Request) -> Admin:
    return await access_of(request).admin(request)


def _keys(request: Request) -> ApiKeyRepository:
    return access_of(request).database_tier().keys


DetectCaller = Annotated[Caller, Depends(_caller("detect"))]
MaskCaller = Annotated[Caller, Depends(_caller("mask"))]
BatchCaller = Annotated[Caller, Depends(_batch_caller)]
AdminAuth = Annotated[Admin, Depends(_admin)]
Keys = Annotated[ApiKeyRepository, Depends(_keys)]
