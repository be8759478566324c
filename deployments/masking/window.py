"""Parts of a JPEG, whole MCUs, whose faces are hidden in its coefficients."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from deployments.masking.colours import from_rgb, to_rgb
from deployments.masking.footprint import Mask
from deployments.masking.jpeg_frame import Frame
from deployments.masking.layer import Layer, Window
from models.types import Int16Array, Int32Array, Int64Array, UInt8Array


@dataclass(frozen=True, slots=True)
class Written:
    """Blocks of one component that were changed, for whoever checks the result."""

    component: int
    rows: Int64Array  # (N,)
    columns: Int64Array  # (N,)
    coefficients: Int16Array  # (N, 64)


def windows_of(regions: Int32Array, frame: Frame) -> list[Window]:
    """The windows of regions (N, 4) in stored pixels: no two regions of different ones share an MCU.

    Windows may lie over one another, as those of a ring and of what is in it. Where they would be more than
    one around all of them, it is that one: many rings would cost as many pictures.
    """
    scale = np.array([frame.mcu_width, frame.mcu_height] * 2)
    low, high = regions[:, :2] // scale[:2], -(-regions[:, 2:] // scale[2:])
    covered = np.zeros((frame.rows, frame.columns), np.uint8)
    for (left, top), (right, bottom) in zip(low, high, strict=True):
        covered[top:bottom, left:right] = 1
    count, labels = cv2.connectedComponents(covered, connectivity=4)
    members: list[list[int]] = [[] for _ in range(count)]
    for index, (left, top) in enumerate(low):
        members[labels[top, left]].append(index)
    windows = [_around(low[chosen], high[chosen], chosen) for chosen in members if chosen]
    if len(windows) > 1:
        whole = _around(low, high, list(range(len(regions))))
        if sum(window.size for window in windows) > whole.size:
            return [whole]
    return windows


def _around(low: Int32Array, high: Int32Array, members: list[int]) -> Window:
    (left, top), (right, bottom) = low.min(axis=0), high.max(axis=0)
    return Window(int(left), int(top), int(right), int(bottom), tuple(members))


def hide_in(
    planes: list[Int16Array],
    frame: Frame,
    space: str,
    windows: list[tuple[Window, list[Mask]]],
    hide: Callable[[Window, UInt8Array], UInt8Array],
) -> list[Written]:
    """Hide masks in the coefficients of their windows; every other block stays as it is.

    A block that is partly under a mask keeps its samples outside of it. All windows go through the cosine
    transform at once: each call costs as much as a small face.

    Args:
        planes: Of the picture, changed in place.
        frame: Of the picture.
        space: `GRAY`, `YCbCr` or `RGB`.
        windows: Where, and the masks of each.
        hide: New pixels for those (h, w, 3) of a window, both RGB, without what lies outside the picture.

    Returns:
        What was written: one for each component.
    """
    layers = [
        Layer(plane, component, frame, [window for window, _ in windows])
        for plane, component in zip(planes, frame.components, strict=True)
    ]
    for index, (window, masks) in enumerate(windows):
        left, top = window.left * frame.mcu_width, window.top * frame.mcu_height
        width = (window.right - window.left) * frame.mcu_width
        height = (window.bottom - window.top) * frame.mcu_height
        pixels = to_rgb([layer.shown(index, width, height) for layer in layers], space)
        seen = np.ascontiguousarray(pixels[: frame.height - top, : frame.width - left])
        hidden = from_rgb(_grown(hide(window, seen), width, height), space)
        placed = [mask.within(left, top, frame.width, frame.height, width, height) for mask in masks]
        for layer, plane in zip(layers, hidden, strict=True):
            layer.replace(index, plane, placed)
    return [Written(number, *layer.write()) for number, layer in enumerate(layers)]


def _grown(pixels: UInt8Array, width: int, height: int) -> UInt8Array:
    """Up to the last whole MCU, by the last row and column."""
    down, across = height - pixels.shape[0], width - pixels.shape[1]
    if not down and not across:
        return pixels
    return np.asarray(cv2.copyMakeBorder(pixels, 0, down, 0, across, cv2.BORDER_REPLICATE), np.uint8)
