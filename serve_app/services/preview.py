"""Stored pictures as a browser can show them: upright, small, and in a format each of them knows."""

import asyncio
from typing import Final

import cv2

from deployments.decoding.decode import decode
from deployments.masking.encode import encode
from deployments.transparency import flatten

MEDIA_TYPE: Final = "image/webp"
QUALITY: Final = 80
AT_ONCE: Final = 2
"""Previews one ingress replica makes at a time: a grid asks for forty, and clients' pictures go first."""

_turns = asyncio.Semaphore(AT_ONCE)


async def preview(data: bytes, side: int, max_pixels: int) -> bytes:
    """The picture as WebP, scaled down to fit into a square; never larger than it is.

    Args:
        data: The encoded picture.
        side: Of the square, in pixels.
        max_pixels: Width x height that is accepted, judged from the header.

    Raises:
        UnsupportedFormatError, ImageTooLargeError, ImageDecodeError: It is no picture we read.
    """
    async with _turns:
        return await asyncio.to_thread(_preview, data, side, max_pixels)


def _preview(data: bytes, side: int, max_pixels: int) -> bytes:
    picture = decode(data, max_pixels=max_pixels, keep_picture=True).picture
    if picture is None:
        raise AssertionError("it was asked for")
    pixels = flatten(picture.pixels)
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # Averages every pixel of the source: a grid of thumbnails should not flicker with aliases.
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1.0 else pixels
    return encode(small, picture.icc_profile, "webp", QUALITY)  # type: ignore[arg-type]
