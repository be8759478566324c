"""Where one scene ends and the next begins."""

from typing import Final

import cv2
import numpy as np

from models.types import Canvas, Float32Array

SIZE: Final = (32, 18)
"""Of the thumbnails that are compared: motion of a few pixels disappears in it."""
LEAST_LIKENESS: Final = 0.5
"""Correlation of thumbnails below which it is another scene."""
LEAST_CHANGE: Final = 12.0
"""Grey levels two thumbnails must differ by in the mean: of a black picture, noise is all there is."""


class Cuts:
    """Compares each frame with the one before. A change of light, such as a flash, is no cut."""

    def __init__(self) -> None:
        self._before: Float32Array | None = None

    def is_cut(self, canvas: Canvas) -> bool:
        """Whether a new scene begins with this frame."""
        small = cv2.resize(canvas.pixels, SIZE, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
        before, self._before = self._before, grey
        return before is not None and differ(before, grey)


def differ(a: Float32Array, b: Float32Array) -> bool:
    """Whether two grey thumbnails show different scenes."""
    if np.abs(a - b).mean() < LEAST_CHANGE:
        return False
    one, other = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return size == 0 or float((one * other).sum()) / size < LEAST_LIKENESS
