"""Faces that fill much of the picture: SCRFD gives them low scores, and much better ones at half the size.

InsightFace's issues 1518 and 2165 tell of it; docs/detail.md has our measurements.
"""

from dataclasses import replace
from typing import Final

import cv2

from models.boxes import longer_sides
from models.types import BoolArray, Canvas, Float32Array

LEAST_SHARE: Final = 0.25
"""Of the picture's longer side: a box whose longer side has it is large."""


def half_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of half a canvas."""
    return max(1, height // 2), max(1, width // 2)


def half(canvas: Canvas) -> Canvas:
    """The same picture at half the scale."""
    height, width = half_size(*canvas.pixels.shape[:2])
    pixels = cv2.resize(canvas.pixels, (width, height), interpolation=cv2.INTER_AREA)
    return replace(canvas, pixels=pixels, det_scale=canvas.det_scale / 2)  # type: ignore[arg-type]


def is_large(boxes: Float32Array, width: int, height: int) -> BoolArray:
    """Which boxes (N, 4), in source pixels, fill much of a picture of this size."""
    return longer_sides(boxes) >= LEAST_SHARE * max(width, height)
