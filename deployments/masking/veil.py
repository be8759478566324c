"""A veil over what is left of a face: less contrast, and noise that nobody can foretell."""

import math
import os
from typing import Final

import cv2
import numpy as np

from models.types import Int16Array, UInt8Array

KEPT_CONTRAST: Final = 0.3
"""Share of the difference from the region's mean colour that is kept; see docs/masking.md for why."""

AMPLITUDE: Final = 8
"""Most that brightness is moved by, in levels of 255."""

COLOUR_SHARE: Final = 4
"""Colours are moved by so many times less: more would catch the eye."""


def veiled(pixels: UInt8Array, cell: float) -> UInt8Array:
    """Paler pixels with soft noise over them, about one value for each `cell` x `cell` pixels.

    A blur of sigma s leaves nothing finer than s, so noise of that size lies on all that is left, and no
    filter parts the two: sharpening brings up both. It comes from the operating system's generator: one of
    our own could be run again by whoever guesses its state.

    Args:
        pixels: (h, w, 3), or (h, w, 4) of which the alpha stays as it is.
        cell: Pixels; at least 1.
    """
    height, width = pixels.shape[:2]
    colours = np.ascontiguousarray(pixels[..., :3])
    rows, columns = math.ceil(height / cell), math.ceil(width / cell)
    noise = _noise(rows, columns)
    if (rows, columns) != (height, width):
        enlarged = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
        noise = np.asarray(enlarged, np.int16).reshape(height, width, 3)
    mean = np.array(cv2.mean(colours)[:3], np.float32) * np.float32(1 - KEPT_CONTRAST)
    moved = colours * np.float32(KEPT_CONTRAST) + mean + noise
    veil: UInt8Array = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
    return veil if pixels.shape[2] == 3 else np.concatenate([veil, pixels[..., 3:]], axis=2)


def _noise(rows: int, columns: int) -> Int16Array:
    """(rows, columns, 3) of -AMPLITUDE to AMPLITUDE, much the same for the three colours."""
    drawn = np.frombuffer(os.urandom(rows * columns * 4), np.int8).reshape(rows, columns, 4)
    levels = drawn.astype(np.int16)
    mixed = levels[..., :1] * (COLOUR_SHARE - 1) + levels[..., 1:]
    noise: Int16Array = mixed * AMPLITUDE // (128 * COLOUR_SHARE)
    return noise
