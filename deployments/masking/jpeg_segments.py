"""What is put in front of a JPEG's picture: its ICC profile, and how it is turned."""

from typing import Final

from deployments.decoding.exif import UPRIGHT, orientation_exif

JFIF: Final = b"\xff\xe0\x00\x10JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00"
"""The whole segment: version 1.01, square pixels, no thumbnail."""
ICC_CHUNK: Final = 65519
"""Bytes of a profile in one APP2 segment: 65535 - 2 of length - 14 of header (ICC.1, annex B.4)."""


def with_segments(jpeg: bytes, icc_profile: bytes | None, orientation: int = UPRIGHT) -> bytes:
    """The file with a profile, and with an EXIF block that holds the orientation where it is not upright.

    Args:
        jpeg: A file without either.
        icc_profile: None for sRGB.
        orientation: EXIF, 1-8.
    """
    segments = [] if orientation == UPRIGHT else [_segment(0xE1, orientation_exif(orientation))]
    if icc_profile:
        chunks = [icc_profile[i : i + ICC_CHUNK] for i in range(0, len(icc_profile), ICC_CHUNK)]
        segments += [
            _segment(0xE2, b"ICC_PROFILE\0" + bytes((number, len(chunks))) + chunk)
            for number, chunk in enumerate(chunks, 1)
        ]
    if not segments:
        return jpeg
    # After SOI and the JFIF segment, which must come first.
    at = 4 + int.from_bytes(jpeg[4:6], "big") if jpeg[2:4] == b"\xff\xe0" else 2
    return jpeg[:at] + b"".join(segments) + jpeg[at:]


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2, "big") + payload
