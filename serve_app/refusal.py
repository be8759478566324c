"""What a client is told that reaches no application: our error envelope."""

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from serve_app.metrics import REQUESTS

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One way of saying no."""

    status: int
    reason: str  # as metrics say it
    detail: str

    def count(self) -> None:
        """It was met."""
        REQUESTS.inc("other", str(self.status), self.reason)

    def body(self) -> bytes:
        """The envelope."""
        return json.dumps({"detail": self.detail}).encode()

    def as_bytes(
        self, request_id: str | None = None, default: Iterable[Header] = (), *, ends: bool = True
    ) -> bytes:
        """The whole answer.

        Args:
            request_id: Of the request; None: a new one.
            default: Headers that every answer has.
            ends: Whether the connection ends with it.
        """
        body = self.body()
        headers = [*default, *self._headers(body, request_id, ends=ends)]
        lines = b"".join([b"%s: %s\r\n" % header for header in headers])
        return STATUS_LINE[self.status] + lines + b"\r\n" + body

    async def __call__(self, _scope: Scope, _receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """The same, as an application that answers nothing else and ends the connection."""
        body = self.body()
        headers = self._headers(body, None, ends=True)
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _headers(self, body: bytes, request_id: str | None, *, ends: bool) -> list[Header]:
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", (request_id or str(uuid.uuid4())).encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
        ]
        if ends:
            headers.append((b"connection", b"close"))
        if self.status == 503:
            headers.append((b"retry-after", b"1"))
        return headers
