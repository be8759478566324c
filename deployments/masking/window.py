"""A part of a JPEG, whole MCUs, whose faces are hidden in its coefficients."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deployments.masking.blocks import Int16Array, to_coefficients, to_samples
from deployments.masking.jpeg_frame import SIDE, Component, Frame
from models.types import Float32Array, Int32Array, Int64Array, UInt8Array

BoolArray = npt.NDArray[np.bool_]


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
    regions: Int32Array,
    hide: Callable[[UInt8Array], UInt8Array],
) -> list[Written]:
    """Hide regions in the coefficients of a window; every other block stays as it is.

    A block that is partly under a region keeps its samples outside of it.

    Args:
        planes: Of the picture, changed in place.
        frame: Of the picture.
        space: `GRAY`, `YCbCr` or `RGB`.
        window: Where.
        regions: (N, 4) the window's own, in stored pixels.
        hide: New pixels for those (h, w, 3) of the window, both RGB, without what lies outside the picture.

    Returns:
        What was written.
    """
    left, top = window.left * frame.mcu_width, window.top * frame.mcu_height
    width, height = (
        (window.right - window.left) * frame.mcu_width,
        (window.bottom - window.top) * frame.mcu_height,
    )
    seen_width, seen_height = min(width, frame.width - left), min(height, frame.height - top)
    parts = [_part(plane, c, window) for plane, c in zip(planes, frame.components, strict=True)]
    divisors = [np.array(component.quantisation, np.float32) for component in frame.components]
    samples = [to_samples(part, table) for part, table in zip(parts, divisors, strict=True)]
    steps = [_step(component, frame) for component in frame.components]
    before = _to_rgb([_enlarged(s, step) for s, step in zip(samples, steps, strict=True)], space)
    after = _from_rgb(hide(np.ascontiguousarray(before[:seen_height, :seen_width])), space)
    areas = regions - np.array([left, top, left, top], np.int32)
    # What lies outside the picture goes with its last row and column.
    areas[areas[:, 2] == seen_width, 2] = width
    areas[areas[:, 3] == seen_height, 3] = height
    written = []
    for index, (part, old, table, step) in enumerate(zip(parts, samples, divisors, steps, strict=True)):
        new = _reduced(_grown(after[index], width, height), step)
        mixed = np.where(_under(areas, old.shape, step), new, old)
        blocks = _under(areas, part.shape[:2], (step[0] * SIDE, step[1] * SIDE))
        part[blocks] = to_coefficients(mixed, table)[blocks]
        component = frame.components[index]
        rows, columns = np.nonzero(blocks)
        places = rows + window.top * component.down, columns + window.left * component.across
        written.append(_visible(Written(index, *places, part[blocks]), frame))
    return written


def _part(plane: Int16Array, component: Component, window: Window) -> Int16Array:
    rows = slice(window.top * component.down, window.bottom * component.down)
    columns = slice(window.left * component.across, window.right * component.across)
    return plane[rows, columns]


def _step(component: Component, frame: Frame) -> tuple[int, int]:
    """Pixels down and across that share one sample."""
    mcu_rows, mcu_columns = frame.mcu_height // SIDE, frame.mcu_width // SIDE
    return mcu_rows // component.down, mcu_columns // component.across


def _enlarged(samples: Float32Array, step: tuple[int, int]) -> UInt8Array:
    whole = np.clip(np.rint(samples), 0, 255).astype(np.uint8)
    return whole if step == (1, 1) else whole.repeat(step[0], axis=0).repeat(step[1], axis=1)


def _grown(plane: UInt8Array, width: int, height: int) -> UInt8Array:
    """Up to the last whole MCU, by its last row and column."""
    down, across = height - plane.shape[0], width - plane.shape[1]
    if not down and not across:
        return plane
    return np.asarray(cv2.copyMakeBorder(plane, 0, down, 0, across, cv2.BORDER_REPLICATE), np.uint8)


def _reduced(plane: UInt8Array, step: tuple[int, int]) -> Float32Array:
    """The mean of the pixels that share a sample."""
    samples = plane.astype(np.float32)
    if step == (1, 1):
        return samples
    size = plane.shape[1] // step[1], plane.shape[0] // step[0]
    return np.asarray(cv2.resize(samples, size, interpolation=cv2.INTER_AREA), np.float32)


def _under(areas: Int32Array, shape: tuple[int, ...], step: tuple[int, int]) -> BoolArray:
    """Which cells of `step` pixels (down, across) have a pixel in one of the areas."""
    found = np.zeros(shape, bool)
    for x1, y1, x2, y2 in areas.tolist():
        found[y1 // step[0] : -(-y2 // step[0]), x1 // step[1] : -(-x2 // step[1])] = True
    return found


def _to_rgb(planes: list[UInt8Array], space: str) -> UInt8Array:
    if space == "GRAY":
        return np.repeat(planes[0][..., None], 3, axis=2)
    if space == "RGB":
        return np.dstack(planes)
    luma, blue, red = planes  # OpenCV has them the other way round
    return np.asarray(cv2.cvtColor(np.dstack([luma, red, blue]), cv2.COLOR_YCrCb2RGB), np.uint8)


def _from_rgb(pixels: UInt8Array, space: str) -> list[UInt8Array]:
    if space == "GRAY":
        return [np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)]
    if space == "RGB":
        return [pixels[..., index] for index in range(3)]
    luma, red, blue = np.moveaxis(cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb), 2, 0)
    return [luma, blue, red]


def _visible(written: Written, frame: Frame) -> Written:
    """Without blocks wholly outside the picture: the encoder makes those up."""
    component = frame.components[written.component]
    across = -(-frame.width * component.across // frame.mcu_width)
    down = -(-frame.height * component.down // frame.mcu_height)
    inside = (written.rows < down) & (written.columns < across)
    places = written.rows[inside], written.columns[inside]
    return Written(written.component, *places, written.coefficients[inside])
