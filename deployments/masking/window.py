"""A part of a JPEG, whole MCUs, whose faces are hidden in its coefficients."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from deployments.masking.blocks import MIDDLE, to_blocks, to_coefficients, to_plane, to_samples
from deployments.masking.colours import from_rgb, to_rgb
from deployments.masking.footprint import Mask, covered, touched_blocks
from deployments.masking.jpeg_frame import SIDE, Component, Frame
from models.types import Int16Array, Int32Array, Int64Array, UInt8Array


@dataclass(frozen=True, slots=True)
class Window:
    """Regions that share MCUs, and the smallest rectangle of MCUs around them."""

    left: int  # in MCUs
    top: int
    right: int  # exclusive
    bottom: int
    members: tuple[int, ...]  # indices of its regions


@dataclass(frozen=True, slots=True)
class Written:
    """Blocks of one component that were changed, for whoever checks the result."""

    component: int
    rows: Int64Array  # (N,)
    columns: Int64Array  # (N,)
    coefficients: Int16Array  # (N, 64)


def windows_of(regions: Int32Array, frame: Frame) -> list[Window]:
    """The windows of regions (N, 4) in stored pixels. A block under a region is in no other's window."""
    scale = np.array([frame.mcu_width, frame.mcu_height] * 2)
    low, high = regions[:, :2] // scale[:2], -(-regions[:, 2:] // scale[2:])
    covered = np.zeros((frame.rows, frame.columns), np.uint8)
    for (left, top), (right, bottom) in zip(low, high, strict=True):
        covered[top:bottom, left:right] = 1
    count, labels = cv2.connectedComponents(covered, connectivity=4)
    members: list[list[int]] = [[] for _ in range(count)]
    for index, (left, top) in enumerate(low):
        members[labels[top, left]].append(index)
    windows = []
    for chosen in filter(None, members):
        (left, top), (right, bottom) = low[chosen].min(axis=0), high[chosen].max(axis=0)
        windows.append(Window(int(left), int(top), int(right), int(bottom), tuple(chosen)))
    return windows


def hide_in(
    planes: list[Int16Array],
    frame: Frame,
    space: str,
    window: Window,
    masks: list[Mask],
    hide: Callable[[UInt8Array], UInt8Array],
) -> list[Written]:
    """Hide regions in the coefficients of a window; every other block stays as it is.

    A block that is partly under a mask keeps its samples outside of it.

    Args:
        planes: Of the picture, changed in place.
        frame: Of the picture.
        space: `GRAY`, `YCbCr` or `RGB`.
        window: Where.
        masks: Of the window's own regions.
        hide: New pixels for those (h, w, 3) of the window, both RGB, without what lies outside the picture.

    Returns:
        What was written.
    """
    left, top = window.left * frame.mcu_width, window.top * frame.mcu_height
    height = (window.bottom - window.top) * frame.mcu_height
    width = (window.right - window.left) * frame.mcu_width
    parts = [_part(plane, c, window) for plane, c in zip(planes, frame.components, strict=True)]
    divisors = [np.array(component.quantisation, np.float32) for component in frame.components]
    samples = [to_samples(part, table) for part, table in zip(parts, divisors, strict=True)]
    shown = [to_plane(s, *part.shape[:2]) for s, part in zip(samples, parts, strict=True)]
    pixels = to_rgb([_enlarged(plane, width, height) for plane in shown], space)
    seen = np.ascontiguousarray(pixels[: frame.height - top, : frame.width - left])
    hidden = from_rgb(_grown(hide(seen), width, height), space)
    placed = [mask.within(left, top, frame.width, frame.height, width, height) for mask in masks]
    written = []
    for index, (part, old, table) in enumerate(zip(parts, samples, divisors, strict=True)):
        rows, columns, _ = part.shape
        new = _reduced(hidden[index], rows * SIDE, columns * SIDE)
        under = covered(placed, new.shape, (height // (rows * SIDE), width // (columns * SIDE)))
        changed, partly = touched_blocks(under)
        mixed = np.subtract(to_blocks(new).compress(changed, axis=0), MIDDLE, dtype=np.float32)
        if partly.any():
            mixed[partly[changed]] = np.where(to_blocks(under)[partly], mixed[partly[changed]], old[partly])
        coefficients = to_coefficients(mixed, table)
        part[changed.reshape(rows, columns)] = coefficients
        down, across = np.divmod(np.flatnonzero(changed), columns)
        component = frame.components[index]
        places = down + window.top * component.down, across + window.left * component.across
        written.append(_visible(Written(index, *places, coefficients), frame))
    return written


def _part(plane: Int16Array, component: Component, window: Window) -> Int16Array:
    rows = slice(window.top * component.down, window.bottom * component.down)
    columns = slice(window.left * component.across, window.right * component.across)
    return plane[rows, columns]


def _enlarged(plane: UInt8Array, width: int, height: int) -> UInt8Array:
    """A sample for each pixel."""
    if plane.shape == (height, width):
        return plane
    return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def _grown(pixels: UInt8Array, width: int, height: int) -> UInt8Array:
    """Up to the last whole MCU, by the last row and column."""
    down, across = height - pixels.shape[0], width - pixels.shape[1]
    if not down and not across:
        return pixels
    return np.asarray(cv2.copyMakeBorder(pixels, 0, down, 0, across, cv2.BORDER_REPLICATE), np.uint8)


def _reduced(plane: UInt8Array, height: int, width: int) -> UInt8Array:
    """The mean of the pixels that share a sample."""
    if plane.shape == (height, width):
        return plane
    return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _visible(written: Written, frame: Frame) -> Written:
    """Without blocks wholly outside the picture: the encoder makes those up."""
    component = frame.components[written.component]
    across = -(-frame.width * component.across // frame.mcu_width)
    down = -(-frame.height * component.down // frame.mcu_height)
    inside = (written.rows < down) & (written.columns < across)
    if inside.all():
        return written
    places = written.rows[inside], written.columns[inside]
    return Written(written.component, *places, written.coefficients[inside])
