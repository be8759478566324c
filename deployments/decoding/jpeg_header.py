"""The segments of a JPEG file in front of its entropy-coded data (ITU-T T.81 annex B)."""

import re
from dataclasses import dataclass
from typing import Final

from deployments.decoding.exif import EXIF_PREFIX
from deployments.errors import ImageDecodeError

_MAX_SCANS: Final = 100
"""Encoders write about ten."""

_MAX_SCANNED_PIXELS: Final = 1_500_000_000
"""Each scan costs a pass over the picture, however few its bytes: this many take about a second."""

_MAX_SEGMENTS: Final = 10_000
"""A 20 MiB upload filled with full EXIF or XMP segments has 320."""

_MARKER: Final = re.compile(rb"\xff([\x01-\xfe])")
_MARKER_IN_SCAN: Final = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # neither stuffing nor restart
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a segment
_EOI: Final = 0xD9
_SOS: Final = 0xDA
_DQT: Final = 0xDB
_APP1: Final = 0xE1
_APP2: Final = 0xE2
_ICC_PREFIX: Final = b"ICC_PROFILE\0"


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What a JPEG says about itself before its first scan."""

    width: int  # pixels, as stored
    height: int
    exif: bytes  # of the first EXIF segment, empty without one
    icc_profile: bytes | None  # put together again, not yet judged
    has_more_scans: bool  # progressive, or components in scans of their own
    scan_start: int  # position of the first entropy-coded byte
    frame_type: int  # its SOF marker: 0xC0 baseline, 0xC2 progressive, ... (table B.1)
    frame: bytes  # the SOF segment after its length
    quantisation: bytes  # the DQT segments after their lengths, one behind the other


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Walk the segments up to the first scan.

    Raises:
        ImageDecodeError: No frame, a segment out of bounds, or more segments than any real picture has.
    """
    frame: bytes = b""
    frame_type = 0
    exif = b""
    icc_chunks: list[bytes] = []
    quantisation: list[bytes] = []
    position = 2
    for _ in range(_MAX_SEGMENTS):
        marker, position = _next(data, position, _MARKER)
        if marker == _EOI:
            raise ImageDecodeError("the jpeg ends before its picture begins")
        if marker in _ALONE:
            continue
        segment = _segment(data, position)
        position += 2 + len(segment)
        if marker in _FRAMES and not frame:
            frame, frame_type = segment, marker
        elif marker == _DQT:
            quantisation.append(segment)
        elif marker == _APP1 and not exif and segment.startswith(EXIF_PREFIX):
            exif = segment
        elif marker == _APP2 and segment.startswith(_ICC_PREFIX):
            icc_chunks.append(segment[len(_ICC_PREFIX) :])
        elif marker == _SOS:
            break
    else:
        raise ImageDecodeError(f"the jpeg has more than {_MAX_SEGMENTS} segments")
    if len(frame) < 6:
        raise ImageDecodeError("the jpeg has no frame header before its picture")
    return JpegHeader(
        width=int.from_bytes(frame[3:5], "big"),
        height=int.from_bytes(frame[1:3], "big"),
        exif=exif,
        icc_profile=_join_icc(icc_chunks),
        # Progressive, or not all components in this scan.
        has_more_scans=frame_type in _PROGRESSIVE or segment[:1] != frame[5:6],
        scan_start=position,
        frame_type=frame_type,
        frame=frame,
        quantisation=b"".join(quantisation),
    )


def check_scans(data: bytes, header: JpegHeader) -> None:
    """Refuse files that repeat their scans to keep a decoder busy.

    Raises:
        ImageDecodeError: More scans than any real picture of this size has.
    """
    if not header.has_more_scans:
        return
    limit = min(_MAX_SCANS, _MAX_SCANNED_PIXELS // (header.width * header.height))
    scans = 1
    position = header.scan_start
    for _ in range(_MAX_SEGMENTS):
        marker, position = _next(data, position, _MARKER_IN_SCAN)
        if marker == _EOI:
            return
        if marker in _ALONE:
            continue
        scans += marker == _SOS
        if scans > limit:
            raise ImageDecodeError(f"the jpeg has more than {limit} scans")
        position += 2 + len(_segment(data, position))
    raise ImageDecodeError(f"the jpeg has more than {_MAX_SEGMENTS} segments")


def _next(data: bytes, position: int, pattern: re.Pattern[bytes]) -> tuple[int, int]:
    """The next marker and the position after it. Garbage and fill bytes are passed over, as decoders do."""
    found = pattern.search(data, position)
    if found is None:
        raise ImageDecodeError("the jpeg is truncated")
    return found[1][0], found.end()


def _segment(data: bytes, position: int) -> bytes:
    """The segment after its two length bytes, which count themselves."""
    length = int.from_bytes(data[position : position + 2], "big")
    if length < 2 or position + length > len(data):
        raise ImageDecodeError("the jpeg is truncated or corrupt: a segment ends outside the file")
    return data[position + 2 : position + length]


def _join_icc(chunks: list[bytes]) -> bytes | None:
    """A profile from its APP2 chunks: number, count, data (ICC.1:2022 annex B.4). None unless complete."""
    if any(len(chunk) < 2 or chunk[1] != len(chunks) for chunk in chunks):
        return None
    ordered = sorted(chunks, key=lambda chunk: chunk[0])
    if not ordered or [chunk[0] for chunk in ordered] != list(range(1, len(chunks) + 1)):
        return None
    return b"".join(chunk[2:] for chunk in ordered)
