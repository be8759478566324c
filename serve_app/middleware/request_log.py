"""The outermost layer: a request id, headers every answer carries, and one log line for each request."""

import json
import logging
import time
import uuid
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.errors import INTERNAL, error_response
from serve_app.metrics import REQUESTS

access_logger = logging.getLogger("face_api.access")

ALWAYS: Final = {"X-Content-Type-Options": "nosniff"}
QUIET: Final = frozenset({"/livez", "/readyz", "/health"})  # probes come every second


class RequestLog:
    """Pure ASGI: Starlette's BaseHTTPMiddleware costs a task and two streams for each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = kept_or_new(Headers(scope=scope).get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        seen: dict[str, Any] = {"status": 0, "bytes": 0}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in (ALWAYS | scope["state"].get("headers", {})).items():
                    headers[name] = value
                if "cache-control" not in headers:
                    headers["Cache-Control"] = "no-store"
            elif message["type"] == "http.response.body":
                seen["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:  # already logged by the error handler; the connection must not see it
            if not seen["status"]:
                await error_response(500, INTERNAL)(scope, receive, send_with_headers)
        finally:
            REQUESTS.labels(route_of(scope), str(seen["status"])).inc()
            if scope["path"] not in QUIET or seen["status"] >= 500:
                access_logger.info(
                    "%s",
                    json.dumps(
                        {
                            "event": "request",
                            "request_id": request_id,
                            "method": scope["method"],
                            "path": scope["path"],
                            "status": seen["status"],
                            "duration_ms": round((time.perf_counter() - started) * 1e3, 2),
                            "output_bytes": seen["bytes"],
                        }
                    ),
                )


def route_of(scope: Scope) -> str:
    """The path template of the route that answered, for metrics; what nothing answers to is one group."""
    return getattr(scope.get("route"), "path", "other")


def kept_or_new(given: str | None) -> str:
    """An incoming id when it is a UUID in its usual form, else a new one."""
    if given is not None and len(given) == 36:
        try:
            if str(uuid.UUID(given)) == given.lower():
                return given
        except ValueError:
            pass
    return str(uuid.uuid4())
