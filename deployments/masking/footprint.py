"""Where a mask lies, pixel by pixel, and which samples and blocks it touches."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from deployments.masking.jpeg_frame import SIDE
from models.types import BoolArray

_EIGHT: Final = 0x0101010101010101
"""Eight flags that are all set."""

Inside = BoolArray | Literal[True]
"""Which cells (h, w) are touched; True: all."""


@dataclass(frozen=True, slots=True)
class Mask:
    """One region, x2 and y2 exclusive."""

    x1: int
    y1: int
    x2: int
    y2: int
    inside: Inside  # (y2 - y1, x2 - x1) the pixels that are hidden

    def within(
        self, left: int, top: int, picture_width: int, picture_height: int, width: int, height: int
    ) -> "Mask":
        """The mask as a window of whole MCUs sees it.

        What a JPEG holds beyond the picture's right and lower edge goes with the last column and row.

        Args:
            left: Of the window, in pixels.
            top: The same.
            picture_width: In pixels.
            picture_height: The same.
            width: Of the window, which may reach beyond the picture.
            height: The same.
        """
        x2 = width if self.x2 == picture_width else self.x2 - left
        y2 = height if self.y2 == picture_height else self.y2 - top
        inside = self.inside
        if inside is not True:
            beyond = (y2 + top - self.y2, x2 + left - self.x2)
            inside = np.pad(inside, ((0, beyond[0]), (0, beyond[1])), "edge")
        return Mask(self.x1 - left, self.y1 - top, x2, y2, inside)

    def cells(self, step: tuple[int, int]) -> tuple[tuple[slice, slice], Inside]:
        """Where the cells of `step` pixels (down, across) lie under the region; which the mask touches."""
        down, across = step
        top, left, bottom, right = (
            self.y1 // down,
            self.x1 // across,
            -(-self.y2 // down),
            -(-self.x2 // across),
        )
        place = slice(top, bottom), slice(left, right)
        if self.inside is True:
            return place, True
        pixels = np.zeros(((bottom - top) * down, (right - left) * across), bool)
        y, x = self.y1 - top * down, self.x1 - left * across
        pixels[y : y + self.y2 - self.y1, x : x + self.x2 - self.x1] = self.inside
        tiles = pixels.reshape(bottom - top, down, right - left, across)
        return place, np.asarray(tiles.any(axis=(1, 3)), np.bool_)


def covered(masks: list[Mask], shape: tuple[int, ...], step: tuple[int, int]) -> BoolArray:
    """Which samples of a plane a mask touches, each of them `step` pixels (down, across)."""
    under = np.zeros(shape, bool)
    for mask in masks:
        place, inside = mask.cells(step)
        under[place] |= inside
    return under


def touched_blocks(under: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Which blocks (rows, columns) have samples under a mask, and which of those have others beside them.

    Args:
        under: (8 * rows, 8 * columns)
    """
    octets = under.view(np.uint64)
    rows = octets.reshape(-1, SIDE, octets.shape[1])
    some: BoolArray = np.bitwise_or.reduce(rows, axis=1) != 0
    every: BoolArray = np.bitwise_and.reduce(rows, axis=1) == _EIGHT
    return some, some & ~every
