"""Faces that fill much of the picture: SCRFD gives them low scores, and much better ones at half the size.

InsightFace's issues 1518 and 2165 tell of it; docs/detail.md has our measurements.
"""

from dataclasses import replace
from typing import Final

import cv2

from models.types import BoolArray, Canvas, Detections, Float32Array

HINT_SCORE: Final = 0.005
"""A large box of the whole picture with at least this score asks for a look at half the size,"""
PROVEN_SCORE: Final = 0.5
"""unless it has this one, or the confidence that was asked for if that is higher."""
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
    sides: Float32Array = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    return sides >= LEAST_SHARE * max(width, height)


def may_hold_close_up(found: Detections, confidence: float, width: int, height: int) -> bool:
    """Whether the pass over the whole picture leaves room for a close-up that it did not find.

    Args:
        found: With all boxes from HINT_SCORE on; what a better one covers is gone.
        confidence: What a found face has.
        width: Of the picture, pixels.
        height: Of the picture, pixels.
    """
    is_open = found.scores < max(confidence, PROVEN_SCORE)
    return bool((is_large(found.boxes, width, height) & is_open).any())
