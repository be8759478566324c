"""One component of a JPEG under masks: its blocks become samples, and samples blocks again."""

from dataclasses import dataclass

import cv2
import numpy as np

from deployments.masking.blocks import some_blocks, to_coefficients, to_levels, to_plane, to_samples
from deployments.masking.footprint import Mask, covered, touched_blocks
from deployments.masking.jpeg_frame import SIDE, Component, Frame
from models.types import BoolArray, Int16Array, Int64Array, UInt8Array


@dataclass(frozen=True, slots=True)
class Window:
    """Regions that share MCUs, and the smallest rectangle of MCUs around them."""

    left: int  # in MCUs
    top: int
    right: int  # exclusive
    bottom: int
    members: tuple[int, ...]  # indices of its regions

    @property
    def size(self) -> int:
        """MCUs."""
        return (self.right - self.left) * (self.bottom - self.top)


class Layer:
    """The blocks of one component in all windows of a picture."""

    def __init__(self, plane: Int16Array, component: Component, frame: Frame, windows: list[Window]) -> None:
        self._plane = plane  # (rows, columns, 64)
        self._component = component
        self._frame = frame
        self._windows = windows
        self._quantisation = np.array(component.quantisation, np.float32)
        self._blocks = np.concatenate([self._part(window).reshape(-1, SIDE * SIDE) for window in windows])
        self._levels = to_levels(self._blocks, self._quantisation)
        self._starts = np.cumsum(
            [0, *(window.size * component.across * component.down for window in windows)]
        )
        self._new: list[UInt8Array] = []  # (K, 64) of each window
        self._under: list[BoolArray] = []  # (P, 64) of those blocks that keep samples
        self._touched: list[BoolArray] = []  # (N,) which K
        self._partly: list[BoolArray] = []  # (N,) which P

    def shown(self, index: int, width: int, height: int) -> UInt8Array:
        """What a window shows, a sample for each of its pixels (height, width)."""
        rows, columns = self._shape(index)
        plane = to_plane(self._levels[self._place(index)], rows, columns)
        if plane.shape == (height, width):
            return plane
        return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)

    def replace(self, index: int, plane: UInt8Array, masks: list[Mask]) -> None:
        """Take what lies under masks from a plane as large as the pixels of a window; in their order."""
        rows, columns = self._shape(index)
        height, width = rows * SIDE, columns * SIDE
        step = plane.shape[0] // height, plane.shape[1] // width
        if step != (1, 1):  # the mean of the pixels that share a sample
            plane = np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        under = covered(masks, (height, width), step)
        touched, partly = touched_blocks(under)
        self._new.append(some_blocks(plane, touched))
        self._under.append(some_blocks(under, partly))
        self._touched.append(touched.ravel())
        self._partly.append(partly.ravel())

    def write(self) -> tuple[Int64Array, Int64Array, Int16Array]:
        """Put the new blocks into the picture.

        Returns:
            (N,) their rows, (N,) their columns, and (N, 64) their coefficients, without blocks wholly
            outside of the picture: the encoder makes those up.
        """
        touched, partly = np.concatenate(self._touched), np.concatenate(self._partly)
        new = np.concatenate(self._new)
        coefficients = to_coefficients(new, self._quantisation)
        if partly.any():
            old = to_samples(self._blocks.compress(partly, axis=0), self._quantisation)
            mixed = np.where(np.concatenate(self._under), new.compress(partly[touched], axis=0), old)
            coefficients[partly[touched]] = to_coefficients(mixed, self._quantisation)
        rows, columns = (places.compress(touched) for places in self._places())
        self._plane[rows, columns] = coefficients
        inside = self._inside(rows, columns)
        return rows[inside], columns[inside], coefficients[inside]

    def _place(self, index: int) -> slice:
        return slice(self._starts[index], self._starts[index + 1])

    def _shape(self, index: int) -> tuple[int, int]:
        window, component = self._windows[index], self._component
        return (window.bottom - window.top) * component.down, (window.right - window.left) * component.across

    def _part(self, window: Window) -> Int16Array:
        rows = slice(window.top * self._component.down, window.bottom * self._component.down)
        return self._plane[rows, window.left * self._component.across : window.right * self._component.across]

    def _places(self) -> tuple[Int64Array, Int64Array]:
        """Row and column of each block (N,) in the picture."""
        rows, columns = [], []
        for index, window in enumerate(self._windows):
            high, wide = self._shape(index)
            rows.append(np.repeat(np.arange(high) + window.top * self._component.down, wide))
            columns.append(np.tile(np.arange(wide) + window.left * self._component.across, high))
        return np.concatenate(rows), np.concatenate(columns)

    def _inside(self, rows: Int64Array, columns: Int64Array) -> BoolArray:
        across = -(-self._frame.width * self._component.across // self._frame.mcu_width)
        down = -(-self._frame.height * self._component.down // self._frame.mcu_height)
        return np.asarray((rows < down) & (columns < across), np.bool_)
