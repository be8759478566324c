"""Which pixels have to be hidden for a face, and how strongly."""

from typing import Final

import numpy as np

from deployments.errors import MaskingError
from models.types import Float32Array, Int32Array

REFERENCE_SIDE: Final = 200
"""Longer side of a face, in pixels, up to which the strength is taken as given (SPEC section 5)."""


def expand_boxes(boxes: Float32Array, padding: float, width: int, height: int) -> Int32Array:
    """Grow each box by `padding` of its own size on every side, then clip to the image.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in source pixels.
        padding: Fraction of box width and height; 0.15 adds 15 % per side. Must be >= 0.
        width: Image width in pixels.
        height: Image height in pixels.

    Returns:
        (N, 4) regions in whole pixels, rounded outwards, x2 and y2 exclusive, never empty.

    Raises:
        MaskingError: A box is not finite.
    """
    if not np.isfinite(boxes).all():
        raise MaskingError("a face box is not finite")
    sides = boxes[:, 2:] - boxes[:, :2]
    limit = np.array([width, height])
    low = np.clip(np.floor(boxes[:, :2] - padding * sides), 0, limit - 1)
    high = np.clip(np.ceil(boxes[:, 2:] + padding * sides), low + 1, limit)
    return np.concatenate([low, high], axis=1).astype(np.int32)


def scaled_strengths(boxes: Float32Array, strength: int) -> Int32Array:
    """Kernel or block size (N,) in pixels: grows with faces whose longer side is over REFERENCE_SIDE."""
    longer = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    factors = np.maximum(longer / REFERENCE_SIDE, 1.0)
    strengths: Int32Array = np.ceil(strength * factors).astype(np.int32)
    return strengths
