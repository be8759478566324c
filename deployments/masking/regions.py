"""Which pixels have to be hidden for a face, and how strongly."""

from typing import Final

import numpy as np

from deployments.errors import MaskingError
from deployments.types import MaskFill, MaskShape, Region
from models.boxes import longer_sides
from models.types import Float32Array, Int32Array

REFERENCE_SIDE: Final = 200
"""Longer side of a face, in pixels, up to which the strength is taken as given (SPEC section 5)."""

LEAST_SHARE: Final = {"blur": 0.99, "pixelate": 0.5}
"""The floor: kernel and block size as shares of a face's longer side. docs/masking.md has what they were
measured by. The default strength, 199 for a face of 200 pixels, is above it for faces of every size."""

SMALL_SHARE: Final = 2
"""Kernel of a small face as a share of its longer side, up to the default kernel: its detail is coarser."""

DEFAULT_KERNEL: Final = 199


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
        MaskingError: A box is not finite, or they are no boxes.
    """
    check_boxes(boxes)
    sides = boxes[:, 2:] - boxes[:, :2]
    limit = np.array([width, height])
    low = np.clip(np.floor(boxes[:, :2] - padding * sides), 0, limit - 1)
    high = np.clip(np.ceil(boxes[:, 2:] + padding * sides), low + 1, limit)
    return np.concatenate([low, high], axis=1).astype(np.int32)


def check_boxes(boxes: Float32Array) -> None:
    """Raise MaskingError for what cannot be boxes (N, 4): a face would be missed, or left."""
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise MaskingError("the face boxes are not (N, 4) finite numbers")


def scaled_strengths(boxes: Float32Array, strength: int) -> Int32Array:
    """Kernel or block size (N,) in pixels: grows with faces whose longer side is over REFERENCE_SIDE."""
    factors = np.maximum(longer_sides(boxes) / REFERENCE_SIDE, 1.0)
    strengths: Int32Array = np.ceil(strength * factors).astype(np.int32)
    return strengths


def least_strengths(boxes: Float32Array, shape: MaskShape, fill: MaskFill) -> Int32Array:
    """Kernel or block size (N,) in pixels under which a face could be known again: a share of its size.

    An ellipse leaves more of the head to be seen, so no blur in it is weaker than the default.
    """
    if shape == "ellipse" and fill == "blur":
        return scaled_strengths(boxes, DEFAULT_KERNEL)
    share = LEAST_SHARE.get(fill, 0.0) if isinstance(fill, str) else 0.0
    sides = longer_sides(boxes)
    least = share * sides
    if fill == "blur":
        least = np.maximum(least, np.minimum(SMALL_SHARE * sides, DEFAULT_KERNEL))
    strengths: Int32Array = np.ceil(least).astype(np.int32)
    return strengths


def region_boxes(regions: tuple[Region, ...]) -> Float32Array:
    """A client's regions as boxes: (N, 4) x1, y1, x2, y2."""
    boxes = np.array(regions, np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes
