"""Arithmetic of boxes: (N, 4) x1, y1, x2, y2."""

import numpy as np

from models.types import Float32Array


def areas(boxes: Float32Array) -> Float32Array:
    """(N,) of boxes (N, 4)."""
    found: Float32Array = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return found


def longer_sides(boxes: Float32Array) -> Float32Array:
    """(N,) of boxes (N, 4)."""
    sides: Float32Array = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0)
    return sides


def overlaps(a: Float32Array, b: Float32Array) -> tuple[Float32Array, Float32Array]:
    """What boxes (A, 4) and (B, 4) share: (A, B) areas, and (A, B) intersections over unions."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared: Float32Array = np.maximum(high - low, 0).prod(axis=2)
    unions = areas(a)[:, None] + areas(b)[None] - shared
    return shared, shared / np.maximum(unions, np.float32(1e-9))
