"""uvicorn's HTTP protocol, with a bound on headers and our error envelope for what reaches no application."""

import json
import uuid
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serve_app.metrics import REQUESTS

MOST_HEAD_BYTES: Final = 64 * 1024
"""Request line and headers; httptools itself would collect them without end."""


class EnvelopeProtocol(HttpToolsProtocol):
    """Answers bytes that are no HTTP, and heads without end, as every other failure is answered."""

    _head_bytes: int | None = 0  # of the request being read; None once its headers are complete
    _tail = b""  # the last bytes of the chunk before: the empty line may be split
    _is_ending = False  # the next answer is the connection's last

    def data_received(self, data: bytes) -> None:
        """Refuse a head over the bound before it is parsed."""
        if self._head_bytes is not None:
            seen = self._tail + data
            end = seen.find(b"\r\n\r\n")
            self._head_bytes += (end if end >= 0 else len(seen)) - len(self._tail)
            self._tail = seen[-3:]
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(
                    431, "head_too_large", f"the request's headers are larger than {MOST_HEAD_BYTES} bytes"
                )
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Its headers have ended."""
        self._head_bytes = None
        super().on_headers_complete()
        if self._is_ending:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Its body has ended: the next byte belongs to the next head."""
        self._head_bytes, self._tail = 0, b""
        super().on_message_complete()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being read or answered."""
        return self._head_bytes == 0 and (self.cycle is None or self.cycle.response_complete)

    def close_with_next_answer(self) -> None:
        """Say `connection: close` in the next answer that begins, and mean it."""
        self._is_ending = True
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        """Write the envelope and close the connection."""
        self._refuse(400, "malformed_http", msg)

    def _refuse(self, status: int, reason: str, detail: str) -> None:
        REQUESTS.inc("other", str(status), reason)
        body = json.dumps({"detail": detail}).encode()
        head = (
            b"content-type: application/json\r\n"
            b"content-length: %d\r\n"
            b"x-request-id: %s\r\n"
            b"connection: close\r\n\r\n" % (len(body), str(uuid.uuid4()).encode())
        )
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
