"""Noise that nobody can foretell, over what is left of a face: sharpening brings up the noise."""

import os
from typing import Final

import cv2
import numpy as np

from models.types import UInt8Array

AMPLITUDE: Final = 12.0
"""Most that a value is moved by, in levels of 255; see docs/masking.md for what it does to attacks."""


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
    rows, columns = -(-height // max(round(cell), 1)), -(-width // max(round(cell), 1))
    drawn = np.frombuffer(bytearray(os.urandom(rows * columns * channels)), np.uint8)
    noise: UInt8Array = drawn.reshape(rows, columns, channels)
    if channels == 4:
        noise[..., 3] = 128  # nothing is added there
    if (rows, columns) != (height, width):
        enlarged = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
        noise = np.asarray(enlarged, np.uint8).reshape(pixels.shape)
    scale = AMPLITUDE / 128
    moved: UInt8Array = np.asarray(cv2.addWeighted(pixels, 1.0, noise, scale, -128 * scale), np.uint8)
    return moved.reshape(pixels.shape)
