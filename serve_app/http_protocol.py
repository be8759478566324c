"""uvicorn's HTTP protocol, with our error envelope for what never reaches the application."""

import json
import uuid

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol


class EnvelopeProtocol(HttpToolsProtocol):
    """Answers bytes that are no HTTP as every other failure is answered."""

    def send_400_response(self, msg: str) -> None:
        """Write the envelope and close the connection."""
        body = json.dumps({"detail": msg}).encode()
        head = (
            b"content-type: application/json\r\n"
            b"content-length: %d\r\n"
            b"x-request-id: %s\r\n"
            b"connection: close\r\n\r\n" % (len(body), str(uuid.uuid4()).encode())
        )
        self.transport.write(STATUS_LINE[400] + head + body)
        self.transport.close()
