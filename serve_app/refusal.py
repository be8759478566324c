"""What a client is told that reaches no application: our error envelope, and the connection's end."""

import json
import uuid
from dataclasses import dataclass

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from serve_app.metrics import REQUESTS


@dataclass(frozen=True, slots=True)
class Refusal:
    """One way of saying no."""

    status: int
    reason: str  # as metrics say it
    detail: str

    def count(self) -> None:
        """It was met."""
        REQUESTS.inc("other", str(self.status), self.reason)

    def as_bytes(self) -> bytes:
        """The whole answer, for a connection that ends with it."""
        body = self._body()
        headers = b"".join(b"%s: %s\r\n" % header for header in self._headers(body))
        return STATUS_LINE[self.status] + headers + b"\r\n" + body

    async def __call__(self, _scope: Scope, _receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """The same, as an application that answers nothing else."""
        body = self._body()
        headers = self._headers(body)
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _body(self) -> bytes:
        return json.dumps({"detail": self.detail}).encode()

    def _headers(self, body: bytes) -> list[tuple[bytes, bytes]]:
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", str(uuid.uuid4()).encode()),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
        ]
        return [*headers, (b"retry-after", b"1")] if self.status == 503 else headers
