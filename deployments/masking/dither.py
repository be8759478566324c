"""Noise that nobody can foretell, over what is left of a face: sharpening brings up the noise."""

import os
from typing import Final

import cv2
import numpy as np

from models.types import Int16Array, UInt8Array

AMPLITUDE: Final = 12
"""Most that brightness is moved by, in levels of 255; see docs/masking.md for what it does to attacks."""

COLOUR_SHARE: Final = 4
"""Colours are moved by so many times less: more would catch the eye."""


def dithered(pixels: UInt8Array, cell: float) -> UInt8Array:
    """The same pixels with soft noise over them, about one value for each `cell` x `cell` pixels.

    A blur of sigma s leaves nothing finer than s, so noise of that size lies on all that is left, and no
    filter parts the two. It comes from the operating system's generator: one of our own could be run again
    by whoever guesses its state.

    Args:
        pixels: (h, w, 3), or (h, w, 4) of which the alpha stays as it is.
        cell: Pixels; at least 1.
    """
    height, width, channels = pixels.shape
    side = max(round(cell), 1)
    rows, columns = -(-height // side), -(-width // side)
    noise = _noise(rows, columns)
    if (rows, columns) != (height, width):
        enlarged = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
        noise = np.asarray(enlarged, np.int16).reshape(height, width, 3)
    if channels == 4:
        noise = np.concatenate([noise, np.zeros((height, width, 1), np.int16)], axis=2)
    moved: UInt8Array = np.asarray(cv2.add(pixels, noise, dtype=cv2.CV_8U), np.uint8)
    return moved.reshape(pixels.shape)


def _noise(rows: int, columns: int) -> Int16Array:
    """(rows, columns, 3) of -AMPLITUDE to AMPLITUDE, much the same for the three colours."""
    drawn = np.frombuffer(os.urandom(rows * columns * 4), np.int8).reshape(rows, columns, 4)
    levels = drawn.astype(np.int16)
    mixed = levels[..., :1] * (COLOUR_SHARE - 1) + levels[..., 1:]
    noise: Int16Array = mixed * AMPLITUDE // (128 * COLOUR_SHARE)
    return noise
