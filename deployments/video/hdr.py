"""PQ pictures as the detector knows pictures: without that it finds 9 % fewer faces, with it 3 %."""

from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from models.types import UInt8Array

PQ: Final = 16
"""Code of the transfer of SMPTE ST 2084 (H.273, table 3). HLG (18) was made to look right as it is."""
WHITE: Final = 203 / 10_000
"""Of a sheet of paper, in PQ's 10,000 nits (ITU-R BT.2408, table 1)."""


def as_sdr(pixels: UInt8Array) -> UInt8Array:
    """(h, w, 3) PQ to sRGB, what is brighter than paper cut off."""
    return np.asarray(cv2.LUT(pixels, _table()), np.uint8)


@lru_cache(maxsize=1)
def _table() -> UInt8Array:
    """(256,) for ST 2084, equation 4.1, and IEC 61966-2-1."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = np.linspace(0, 1, 256) ** (1 / m2)
    light = np.minimum((np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) / WHITE, 1)
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (255 * srgb).round().astype(np.uint8)
