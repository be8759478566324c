"""The pictures of a batch's body: parts of a form, or files of a zip; never in a temporary file."""

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from starlette.datastructures import Headers

from serve_app.batch.archive import open_archive, read_entry
from serve_app.body import (
    ENVELOPE_BYTES,
    MAX_PARTS,
    PART,
    BodyStream,
    BodyTooLargeError,
    MalformedBodyError,
    UnsupportedBodyError,
)

PART_HEAD_BYTES: Final = 1024
"""What multipart may add to the bytes of each picture."""
ZIP_TYPES: Final = frozenset({"application/zip", "application/x-zip-compressed"})
ACCEPTED: Final = f"send multipart/form-data with file parts `{PART}`, or a zip as an application/zip body"


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What one batch may hold; more gets 413."""

    most_items: int
    most_bytes: int  # of all pictures together, unpacked
    most_item_bytes: int  # of one picture; a larger one fails alone


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a batch as it was sent."""

    index: int
    filename: str | None  # as the client named it: not to be trusted
    read: Callable[[], bytes]  # may take long; raises BodyTooLargeError, MalformedBodyError, ImageDecodeError


async def read_items(body: BodyStream, headers: Headers, limits: BatchLimits) -> list[Item]:
    """The pictures of a batch, at least one.

    Raises:
        BodyTooLargeError: Too many bytes, or too many pictures.
        UnsupportedBodyError, MalformedBodyError, ClientDisconnectedError: See each.
    """
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedBodyError("a Content-Encoding is not accepted; send the pictures as they are")
    content_type, options = parse_options_header(headers.get("content-type", ""))
    is_multipart = content_type == "multipart/form-data"
    if not is_multipart and content_type not in ZIP_TYPES:
        raise UnsupportedBodyError(f"Content-Type {content_type or '(none)'!r} is not accepted; {ACCEPTED}")
    envelope = ENVELOPE_BYTES + (limits.most_items * PART_HEAD_BYTES)
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.most_bytes + envelope:
        raise _too_large(limits)
    if is_multipart:
        items = await _read_multipart(body, options.get("boundary", ""), limits, envelope)
    else:
        items = await _read_zip(body, limits, envelope)
    if not items:
        raise MalformedBodyError(f"there is no picture in the batch; {ACCEPTED}")
    return items


async def _read_multipart(body: BodyStream, boundary: str, limits: BatchLimits, envelope: int) -> list[Item]:
    try:
        parser = PushMultipartParser(boundary, max_segment_count=limits.most_items + MAX_PARTS, strict=True)
        parts = await _parse(body, parser, limits, envelope)
    except MultipartError as error:
        raise MalformedBodyError(f"the multipart body is broken ({error}); {ACCEPTED}") from error
    return [Item(index, part.filename, part.read) for index, part in enumerate(parts)]


class _Part:
    """A file part `image`; bytes over its limit are not kept."""

    def __init__(self, filename: str | None, most_bytes: int) -> None:
        self.filename = filename
        self._most_bytes = most_bytes
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """Its next bytes."""
        self._size += len(chunk)
        if self._size > self._most_bytes:
            self._chunks.clear()
        else:
            self._chunks.append(chunk)

    def read(self) -> bytes:
        """All of it."""
        if self._size > self._most_bytes:
            raise BodyTooLargeError(
                f"the picture is larger than {self._most_bytes} bytes, the most that is accepted"
            )
        return b"".join(self._chunks)


async def _parse(
    body: BodyStream, parser: PushMultipartParser, limits: BatchLimits, envelope: int
) -> list[_Part]:
    parts: list[_Part] = []
    current: _Part | None = None
    total = 0
    while not body.ended:
        chunk = await body.next()
        total += len(chunk)
        if total > limits.most_bytes + envelope:
            raise _too_large(limits)
        if not chunk or parser.closed:
            continue
        for event in parser.parse(chunk):
            if isinstance(event, MultipartSegment):
                current = _Part(event.filename, limits.most_item_bytes) if event.name == PART else None
                if current is not None:
                    parts.append(current)
                    if len(parts) > limits.most_items:
                        raise _too_many(limits)
            elif event and current is not None:
                current.add(bytes(event))
    parser.close()
    return parts


async def _read_zip(body: BodyStream, limits: BatchLimits, envelope: int) -> list[Item]:
    file, total = io.BytesIO(), 0
    while not body.ended:
        chunk = await body.next()
        total += len(chunk)
        if total > limits.most_bytes + envelope:
            raise _too_large(limits)
        file.write(chunk)
    archive, entries = await asyncio.to_thread(open_archive, file, limits.most_items)
    if len(entries) > limits.most_items:
        raise _too_many(limits)
    if sum(entry.file_size for entry in entries) > limits.most_bytes:
        raise _too_large(limits)
    return [
        Item(index, entry.filename, lambda entry=entry: read_entry(archive, entry, limits.most_item_bytes))  # type: ignore[misc] # mypy cannot type defaults of a lambda
        for index, entry in enumerate(entries)
    ]


def _too_large(limits: BatchLimits) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"the batch's pictures are larger than {limits.most_bytes} bytes together, the most that is "
        "accepted; send them in several batches"
    )


def _too_many(limits: BatchLimits) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"there are more than {limits.most_items} pictures in the batch, the most that is accepted; send "
        "them in several batches"
    )
