"""Targets that take what else a client sends: bodies, headers, bytes that may be HTTP."""

import asyncio
import contextlib
import re
from collections.abc import Callable, Coroutine
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import uvicorn
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.routing import Route
from uvicorn.server import ServerState

from models.errors import FaceError
from serve_app.access import ForbiddenError, UnauthorizedError, _basic, refuse_cross_site, session_token
from serve_app.body import BodyStream, Upload, read_upload
from serve_app.client_address import client_subject
from serve_app.early_refusal import STATE, EarlyRefusal
from serve_app.http_protocol import EnvelopeProtocol
from serve_app.middleware.request_log import kept_or_new
from serve_app.services.api_keys import has_key_form
from serve_app.storage.names import (
    MAX_CHARACTERS,
    MAX_UTF8_BYTES,
    WINDOWS_RESERVED,
    content_disposition,
    safe_filename,
)
from tests.fuzz.pictures import expect_clients_fault

MOST_BYTES = 4096
FULL_PATH = "/full"
TRUSTED = (ip_network("127.0.0.0/8"),)
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


def upload(data: bytes) -> None:
    """A body of any type, in any pieces: one upload whatever the pieces are, or an error."""
    content_type, _, body = data.partition(b"\n")
    size = 1 + content_type[0] if content_type else 1
    headers = Headers(raw=[(b"content-type", content_type[1:])])
    results: list[Upload] = []
    for pieces in ([body], [body[at : at + size] for at in range(0, len(body), size)] or [b""]):
        try:
            results.append(_read(pieces, headers))
        except FaceError as error:
            expect_clients_fault(error)
    assert len({(found.data, found.filename) for found in results}) < 2
    for found in results:
        assert 0 < len(found.data) <= MOST_BYTES
        assert found.data in body


def _read(pieces: list[bytes], headers: Headers) -> Upload:
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages[-1]["more_body"] = False

    async def receive() -> Any:
        return messages.pop(0)

    return _finished(read_upload(BodyStream(receive), headers, MOST_BYTES))


def _finished(work: Coroutine[Any, Any, Upload]) -> Upload:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as ended:
        result: Upload = ended.value
        return result
    raise AssertionError("it waits")


def names(data: bytes) -> None:
    """File names and headers: nothing of them breaks out of where it is put."""
    text = data.decode("utf-8", "surrogateescape")
    for image_format in ("jpeg", "heif", "bin"):
        name = safe_filename(text, image_format)
        assert 0 < len(name) <= MAX_CHARACTERS
        assert len(name.encode()) <= MAX_UTF8_BYTES
        assert not WINDOWS_RESERVED.intersection(name)
        assert name == name.strip(". ")
        assert safe_filename(name, image_format) == name
        disposition = content_disposition(name)
        assert disposition.isascii()
        assert disposition.isprintable()
        assert disposition.count('"') == 2
    latin = data.decode("latin-1")
    assert len(kept_or_new(latin)) == 36
    assert not has_key_form(latin) or len(latin) == 52
    for header_names in ((b"origin", b"host", b"cookie", b"x-forwarded-for"), (b"sec-fetch-site",)):
        headers = [(name, data) for name in header_names]
        scope = {"type": "http", "method": "POST", "headers": headers, "client": ("127.0.0.1", 1)}
        request = Request(scope)
        assert re.fullmatch(r"[0-9a-f.:/]+", client_subject(request, TRUSTED))
        for read in (session_token, refuse_cross_site):
            with contextlib.suppress(ForbiddenError, UnauthorizedError):
                read(request)
    with contextlib.suppress(UnauthorizedError):
        assert _basic([latin]) != ("", "")


class Wire(asyncio.Transport):
    """A connection in memory."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.sent = b""
        self.is_ended = self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_ended, "an answer after the end"
        self.sent += data

    def write_eof(self) -> None:
        self.is_ended = True

    def close(self) -> None:
        self.is_ended = self.is_closed = True

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


async def _application(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """Reads all there is, and says how much; what is refused early elsewhere it refuses too."""
    size, more = 0, True
    if (scope["method"], scope["path"]) == ("POST", FULL_PATH):
        await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        return
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        more = message["more_body"]
    body = b"%d %s" % (size, scope["path"].encode("utf-8", "surrogateescape"))
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_CONFIG = uvicorn.Config(_application, ws="none", access_log=False, log_config=None)
_CONFIG.load()
_LOOP = asyncio.new_event_loop()
_FULL: Any = SimpleNamespace(is_full=True)
_REFUSAL = EarlyRefusal(_FULL, [Route(FULL_PATH, _application, methods=["POST"])])


def http(data: bytes) -> None:
    """Bytes on a connection: no answer comes after its end, and how they are cut changes no status."""
    size = 1 + data[0] if data else 1
    stream = data[1:]
    whole = _LOOP.run_until_complete(_talk([stream]))
    pieces = _LOOP.run_until_complete(_talk([stream[at : at + size] for at in range(0, len(stream), size)]))
    # In one piece, what is wrong with a body can be seen before its request is refused.
    count = min([found.index(b"503") for found in (whole, pieces) if b"503" in found], default=len(whole))
    # Garbage right behind a request that is being answered ends the connection without a word.
    assert whole[:count] == pieces[:count]


async def _talk(pieces: list[bytes]) -> list[bytes]:
    """Statuses of what was answered. Not that a body is welcome: one that is there is not asked for."""
    wire, state = Wire(), ServerState()
    protocol = EnvelopeProtocol(_CONFIG, state, {STATE: _REFUSAL})
    protocol.connection_made(wire)
    for piece in pieces:
        if wire.is_closed:
            break
        protocol.data_received(piece)
        await _settled(state)
    protocol.pass_time(1.0)
    protocol.connection_lost(None)
    await _settled(state)
    assert not state.tasks
    return [status for status in STATUS.findall(wire.sent) if status != b"100"]


async def _settled(state: ServerState) -> None:
    """Until every request is answered, or waits for more of its body."""
    quiet = 0
    while state.tasks and quiet < 5:
        before = state.total_requests
        await asyncio.sleep(0)
        quiet = quiet + 1 if state.total_requests == before else 0
