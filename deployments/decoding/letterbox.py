"""Scaling a picture to the detector input: aspect kept, top left, the padding left to the detector."""

from typing import Final

import cv2
import numpy as np

from models.types import INPUT_SIZE, UInt8Array

_STRIP_PIXELS: Final = 1 << 18
"""Flattening works in strips that fit the cache: half a gigabyte less memory for 50 MP."""


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
    opaque = flatten(pixels) if pixels.shape[2] == 4 else pixels
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
    opaque = flatten(pixels) if pixels.shape[2] == 4 else pixels
    if opaque.shape[:2] == (height, width):
        return opaque
    return cv2.resize(opaque, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def flatten(pixels: UInt8Array) -> UInt8Array:
    """Lay a picture on white.

    Args:
        pixels: (h, w, 4) RGBA, not premultiplied.

    Returns:
        (h, w, 3) RGB: colour x alpha + 255 x (1 - alpha), within one grey level.
    """
    if cv2.minMaxLoc(cv2.extractChannel(pixels, 3))[0] == 255:
        return cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB)  # type: ignore[return-value]
    height, width = pixels.shape[:2]
    flat = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = pixels[top : top + rows]
        alphas = cv2.cvtColor(cv2.extractChannel(strip, 3), cv2.COLOR_GRAY2RGB)
        shares = cv2.multiply(cv2.cvtColor(strip, cv2.COLOR_RGBA2RGB), alphas, scale=1 / 255)
        cv2.add(shares, cv2.bitwise_not(alphas), dst=flat[top : top + rows])
    return flat
