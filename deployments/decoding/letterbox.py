"""Scaling a picture to the detector input: aspect kept, top left, the padding left to the detector."""

import cv2

from deployments.transparency import flatten
from models.types import INPUT_SIZE, UInt8Array


def fit(width: int, height: int) -> tuple[int, int, float]:
    """Size of a picture scaled to fit the detector input, small pictures enlarged.

    Returns:
        Width and height in whole pixels, 1 to INPUT_SIZE, and the scale: canvas pixels per source pixel.
    """
    scale = min(INPUT_SIZE / width, INPUT_SIZE / height)
    return max(1, round(width * scale)), max(1, round(height * scale)), scale


def half_size(width: int, height: int) -> tuple[int, int] | None:
    """Half a picture's width and height, rounded up; None where that would not cover its canvas."""
    half_width, half_height = (width + 1) // 2, (height + 1) // 2
    canvas_width, canvas_height, _ = fit(width, height)
    covers = half_width >= canvas_width and half_height >= canvas_height
    return (half_width, half_height) if covers else None


def halve(pixels: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """What decoding a JPEG at half its size gives, nearly: means of 2 x 2 pixels, flattened on white.

    So the same faces are found whether a picture was decoded whole, for masking, or not: without, a face's
    score moved by 0.1 at times.

    Args:
        pixels: (h, w, 3) RGB or (h, w, 4) RGBA, not premultiplied.
        size: Their `half_size`.
    """
    opaque = flatten(pixels)
    return cv2.resize(opaque, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def shrink(pixels: UInt8Array, width: int, height: int) -> UInt8Array:
    """Scale to a given size, and flatten on white what is transparent.

    Bilinear, like the resizing the models were trained and published with.

    Args:
        pixels: (h, w, 3) RGB or (h, w, 4) RGBA, not premultiplied.
        width: Of the result, pixels.
        height: Of the result, pixels.

    Returns:
        (height, width, 3) RGB, contiguous.
    """
    opaque = flatten(pixels)
    if opaque.shape[:2] == (height, width):
        return opaque
    return cv2.resize(opaque, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]
