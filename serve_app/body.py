"""The picture in a request body: multipart or raw, bounded while it is read, never in a temporary file."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from starlette.datastructures import Headers
from starlette.types import Receive

from models.errors import FaceError

PART: Final = "image"
FILL_PART: Final = "fill_image"
MOST_FILL_BYTES: Final = 256 * 1024
ENVELOPE_BYTES: Final = 64 * 1024
"""What multipart may add to the picture: boundaries, headers, small other parts."""
MAX_PARTS: Final = 16
DRAIN_BYTES: Final = 64 * 2**20
DRAIN_S: Final = 2.0
ACCEPTED: Final = "send multipart/form-data with the file part `image`, or the picture as an image/* body"


class BodyTooLargeError(FaceError):
    """The body is over the limit."""


class EmptyUploadError(FaceError):
    """There is no byte of a picture."""


class UnsupportedBodyError(FaceError):
    """The body's type or encoding is not one we read."""


class MalformedBodyError(FaceError):
    """The multipart body is broken, or a part is missing or there twice."""


class ClientDisconnectedError(FaceError):
    """The client left before its answer was ready."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client sent."""

    data: bytes  # the encoded picture
    filename: str | None  # as the client named it: not to be trusted
    image_id: UUID | None = None  # it was taken from storage
    fill_image: bytes | None = None  # the encoded picture that is to lie over faces


class BodyStream:
    """The pieces of a request body, and whether they have ended."""

    def __init__(self, receive: Receive, keep: Callable[[int], None] | None = None) -> None:
        """Nothing is read yet.

        Args:
            receive: Of the request.
            keep: Told how many bytes each piece has that is about to be kept; may refuse by raising.
        """
        self._receive = receive
        self._keep = keep
        self.began = False
        self.ended = False

    async def next(self) -> bytes:
        """The next piece; raises ClientDisconnectedError when the client is gone."""
        chunk = await self.skip()
        if self._keep is not None:
            self._keep(len(chunk))
        return chunk

    async def skip(self) -> bytes:
        """The next piece, which is not kept; raises ClientDisconnectedError when the client is gone."""
        self.began = True
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.ended = True
            raise ClientDisconnectedError("the client left")
        self.ended = not message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        return chunk

    async def drain(self, headers: Headers) -> None:
        """Read on for a moment after a refusal: a client that is still sending would not see the answer."""
        if not self.began and headers.get("expect", "").lower() == "100-continue":
            return  # its client waits to hear whether to send it
        size = 0
        with contextlib.suppress(TimeoutError, ClientDisconnectedError):
            async with asyncio.timeout(DRAIN_S):
                while not self.ended and size < DRAIN_BYTES:
                    size += len(await self.skip())


async def read_upload(body: BodyStream, headers: Headers, max_bytes: int) -> Upload:
    """The picture of a request.

    Args:
        body: Of the request.
        headers: Of the request.
        max_bytes: Of the picture; a multipart envelope may add ENVELOPE_BYTES, and MOST_FILL_BYTES the
            picture that is to lie over faces.

    Raises:
        BodyTooLargeError, EmptyUploadError, UnsupportedBodyError, MalformedBodyError,
        ClientDisconnectedError: See each.
    """
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedBodyError("a Content-Encoding is not accepted; send the picture as it is")
    content_type, options = parse_options_header(headers.get("content-type", ""))
    is_multipart = content_type == "multipart/form-data"
    if not (is_multipart or content_type.startswith("image/") or content_type == "application/octet-stream"):
        raise UnsupportedBodyError(f"Content-Type {content_type or '(none)'!r} is not accepted; {ACCEPTED}")
    limit = max_bytes + (ENVELOPE_BYTES + MOST_FILL_BYTES if is_multipart else 0)
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(max_bytes)
    if is_multipart:
        upload = await _read_multipart(body, options.get("boundary", ""), max_bytes)
    else:
        upload = Upload(await _read_raw(body, max_bytes), None)
    if not upload.data:
        raise EmptyUploadError("the upload is empty; " + ACCEPTED)
    return upload


async def _read_raw(body: BodyStream, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while not body.ended:
        chunk = await body.next()
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _read_multipart(body: BodyStream, boundary: str, max_bytes: int) -> Upload:
    try:
        parser = PushMultipartParser(boundary, max_segment_count=MAX_PARTS, strict=True)
        return await _parse(body, parser, max_bytes)
    except MultipartError as error:
        raise MalformedBodyError(f"the multipart body is broken ({error}); {ACCEPTED}") from error


async def _parse(body: BodyStream, parser: PushMultipartParser, max_bytes: int) -> Upload:
    most = {PART: max_bytes, FILL_PART: MOST_FILL_BYTES}
    found: dict[str, list[list[bytes]]] = {name: [] for name in most}  # every part of these names
    filename: str | None = None
    current: list[bytes] | None = None
    name, size, total = "", 0, 0
    while not body.ended:
        chunk = await body.next()
        total += len(chunk)
        if total > sum(most.values()) + ENVELOPE_BYTES:
            raise _too_large(max_bytes)
        if not chunk or parser.closed:
            continue
        for event in parser.parse(chunk):
            if isinstance(event, MultipartSegment):
                name, size, current = event.name, 0, None
                if name in found:
                    current = []
                    found[name].append(current)
                if name == PART:
                    filename = event.filename
            elif event and current is not None:
                size += len(event)
                if size > most[name]:
                    raise _too_large(most[name], name)
                current.append(bytes(event))
    parser.close()
    pictures, fills = found[PART], found[FILL_PART]
    if len(pictures) != 1:
        problem = "is missing" if not pictures else "was sent more than once"
        raise MalformedBodyError(f"the part `{PART}` {problem}; {ACCEPTED}")
    if len(fills) > 1:
        raise MalformedBodyError(f"the part `{FILL_PART}` was sent more than once")
    return Upload(b"".join(pictures[0]), filename, None, b"".join(fills[0]) if fills else None)


def _too_large(max_bytes: int, name: str = PART) -> BodyTooLargeError:
    what = "the upload" if name == PART else f"the part `{name}`"
    return BodyTooLargeError(f"{what} is larger than {max_bytes} bytes, the most that is accepted")
