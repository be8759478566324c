"""Between the planes of a JPEG, as large as the picture, and RGB (ITU-T T.871 section 7)."""

import cv2
import numpy as np

from models.types import UInt8Array


def to_rgb(planes: list[UInt8Array], space: str) -> UInt8Array:
    """(h, w, 3) of planes (h, w).

    Args:
        planes: One of grey, three of the others.
        space: `GRAY`, `YCbCr` or `RGB`.
    """
    if space == "GRAY":
        return np.asarray(cv2.cvtColor(planes[0], cv2.COLOR_GRAY2RGB), np.uint8)
    if space == "RGB":
        return np.asarray(cv2.merge(planes), np.uint8)
    luma, blue, red = planes  # OpenCV has them the other way round
    return np.asarray(cv2.cvtColor(cv2.merge([luma, red, blue]), cv2.COLOR_YCrCb2RGB), np.uint8)


def from_rgb(pixels: UInt8Array, space: str) -> list[UInt8Array]:
    """The planes (h, w) of (h, w, 3); see `to_rgb`."""
    if space == "GRAY":
        return [np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)]
    if space == "RGB":
        return [np.asarray(plane, np.uint8) for plane in cv2.split(pixels)]
    luma, red, blue = cv2.split(cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb))
    return [np.asarray(plane, np.uint8) for plane in (luma, blue, red)]
