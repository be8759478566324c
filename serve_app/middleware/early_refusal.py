"""Pictures are refused before a route is looked for or a key is checked, while there is no place for one."""

from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.errors import OverloadedError
from serve_app.admission import FULL, Admission
from serve_app.body import BodyStream
from serve_app.errors import error_response, reason_of

REASON: Final = reason_of(OverloadedError())


class EarlyRefusal:
    """Pure ASGI. In an overload most requests end here, and each takes time from those that are answered."""

    def __init__(self, app: ASGIApp, admission: Admission, routes: Sequence[BaseRoute]) -> None:
        """Stand before an application.

        Args:
            app: The application.
            admission: Of its pictures.
            routes: Whose POST requests bring one picture each.
        """
        self._app = app
        self._admission = admission
        self._routes = {route.path: route for route in routes if isinstance(route, Route)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse one request, or let it through."""
        route = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if route is None or scope["method"] != "POST" or not self._admission.is_full:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        scope["state"]["reason"] = REASON
        headers = Headers(scope=scope)
        if scope["http_version"] == "1.0" or "close" in headers.get("connection", "").lower():
            await BodyStream(receive).drain(headers)  # closed while its client sends, it would not be read
        await error_response(503, FULL)(scope, receive, send)
