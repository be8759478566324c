"""The outermost layer: a request id, headers every answer carries, a span, one log line and the counts."""

import json
import logging
import time
import uuid
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments import tracing
from serve_app.errors import INTERNAL, error_response
from serve_app.metrics import FACES, REQUEST_SECONDS, REQUESTS, STAGE_SECONDS

access_logger = logging.getLogger("face_api.access")

ALWAYS: Final = {"X-Content-Type-Options": "nosniff"}
MOST_PATH: Final = 512
"""Characters of a path in its line: lines must stay whole (`deployments.logs`)."""
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
        headers = Headers(scope=scope)
        answer = _Answer(scope, send, kept_or_new(headers.get("x-request-id")))
        if not tracing.is_on() or scope["path"] in QUIET:
            await self._serve(scope, receive, answer)
            return
        with tracing.span(scope["method"], headers.get("traceparent"), is_entry=True) as span:
            await self._serve(scope, receive, answer)
            span.update_name(f"{scope['method']} {route_of(scope)}")
            span.set_attributes(
                {
                    "http.request.method": scope["method"],
                    "http.route": route_of(scope),
                    "http.response.status_code": answer.status,
                    "face_api.request_id": answer.request_id,
                }
            )

    async def _serve(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            await self._app(scope, receive, answer.send)
        except Exception:  # already logged by the error handler; the connection must not see it
            if not answer.status:
                await error_response(500, INTERNAL)(scope, receive, answer.send)
        finally:
            answer.count()
            if scope["path"] not in QUIET or answer.status >= 500:
                access_logger.info("%s", json.dumps(answer.line()))


class _Answer:
    """What is sent for one request, and what is said of it."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self.request_id = request_id
        self.status = 0
        self._scope = scope
        self._send = send
        self._state: dict[str, Any] = scope.setdefault("state", {})
        self._state["request_id"] = request_id
        self._started_s = time.perf_counter()
        self._output_bytes = 0
        self._is_counted = False

    async def send(self, message: Message) -> None:
        """Send a part; what is counted is counted before the client can have seen all of it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.request_id
            for name, value in (ALWAYS | self._state.get("headers", {})).items():
                headers[name] = value
            if "cache-control" not in headers:
                headers["Cache-Control"] = "no-store"
        elif message["type"] == "http.response.body":
            self._output_bytes += len(message.get("body", b""))
            if not message.get("more_body"):
                self.count()
        await self._send(message)

    def count(self) -> None:
        """Once for each request, whatever became of it."""
        if self._is_counted:
            return
        self._is_counted = True
        seconds = time.perf_counter() - self._started_s
        count(route_of(self._scope), self.status, self._state.get("reason", ""), seconds)
        for stage, milliseconds in self._state.get("stages", {}).items():
            STAGE_SECONDS.observe(milliseconds / 1e3, stage)
        if "faces" in self._state:
            FACES.inc(by=self._state["faces"])

    def line(self) -> dict[str, Any]:
        """The log line: who asked for what, what became of it, and why."""
        state = self._state
        seconds = time.perf_counter() - self._started_s
        method, path = self._scope["method"], self._scope["path"]
        line = line_of(self.request_id, method, path, self.status, seconds, self._output_bytes)
        for name in ("reason", "key_id", "input_bytes", "width", "height", "faces", "items"):
            if name in state:
                line[name] = state[name]
        if "stages" in state:
            line["stages_ms"] = {stage: round(value, 2) for stage, value in state["stages"].items()}
        if tracing.is_on():
            line["trace_id"] = tracing.trace_id()
        return line


def count(route: str, status: int, reason: str, seconds: float) -> None:
    """One request for the metrics."""
    REQUESTS.inc(route, str(status), reason)
    REQUEST_SECONDS.observe(seconds, route, f"{status // 100}xx")


def line_of(
    request_id: str, method: str, path: str, status: int, seconds: float, output_bytes: int
) -> dict[str, Any]:
    """What the log line of every request begins with."""
    return {
        "event": "request",
        "request_id": request_id,
        "method": method,
        "path": path[:MOST_PATH],
        "status": status,
        "duration_ms": round(seconds * 1e3, 2),
        "output_bytes": output_bytes,
    }


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
