"""What hides a face: each effect returns new pixels for one region."""

from typing import Final

import cv2
import numpy as np

from deployments.masking.veil import veiled
from models.types import BoolArray, UInt8Array

SMALLEST_SIGMA: Final = 2.5
"""Sigma, in pixels of the reduced picture, at which the fast blur works: measured SSIM >= 0.99."""


def gaussian(crop: UInt8Array, kernel: int, *, has_veil: bool = False) -> UInt8Array:
    """Gaussian blur with a kernel of `kernel` pixels (an even one grows by 1; 1 changes nothing).

    The sigma is OpenCV's for that kernel. A large one is reached on a reduced copy of the crop, so that
    the cost does not grow with the kernel; reducing and enlarging add to the blur, never take from it.

    Args:
        crop: (h, w, 3 or 4), blurred on its own: nothing outside the region flows in.
        kernel: At least 1.
        has_veil: Veil the result; see `veiled`.
    """
    kernel |= 1
    if kernel == 1:
        return crop.copy()
    sigma = sigma_of(kernel)
    height, width = crop.shape[:2]
    factor = sigma / SMALLEST_SIGMA
    if factor < 2:
        blurred = _blurred(crop, sigma, sigma, kernel)
        return veiled(blurred, sigma) if has_veil else blurred
    small_width, small_height = max(1, round(width / factor)), max(1, round(height / factor))
    small = _reduced(crop, small_width, small_height)
    small = _blurred(small, sigma * small_width / width, sigma * small_height / height)
    if has_veil:
        small = veiled(small, SMALLEST_SIGMA)
    return _as_image(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), crop)


def sigma_of(kernel: int) -> float:
    """The standard deviation, in pixels, of a Gaussian kernel of so many pixels: OpenCV's rule."""
    return 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8  # cv2.getGaussianKernel


def pixelate(crop: UInt8Array, block: int, *, has_veil: bool = False) -> UInt8Array:
    """Squares of `block` pixels from the crop's top left, each of one colour: the mean of its pixels.

    Args:
        crop: (h, w, 3 or 4).
        block: At least 1.
        has_veil: Veil the colours; see `veiled`.
    """
    height, width, channels = crop.shape
    tops, lefts = range(0, height, block), range(0, width, block)
    heights, widths = np.diff(tops, append=height), np.diff(lefts, append=width)
    # Rows of a block are added up by OpenCV, which is ten times quicker at it than NumPy.
    rows = [
        cv2.reduce(crop[top : top + block].reshape(size, -1), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
        for top, size in zip(tops, heights.tolist(), strict=True)
    ]
    sums = np.add.reduceat(np.concatenate(rows).reshape(-1, width, channels), lefts, axis=1, dtype=np.int64)
    counts = (heights[:, None] * widths)[..., None]
    means: UInt8Array = ((sums + counts // 2) // counts).astype(np.uint8)
    if has_veil:
        means = veiled(means, 1.0)
    return means.repeat(widths, axis=1).repeat(heights, axis=0)


def filled(crop: UInt8Array, colour: tuple[int, int, int]) -> UInt8Array:
    """One colour (R, G, B), opaque where the picture has alpha."""
    pixels = np.empty_like(crop)
    pixels[:] = np.tile(np.array((*colour, 255)[: crop.shape[2]], np.uint8), (crop.shape[1], 1))
    return pixels


def patched(crop: UInt8Array, patch: UInt8Array) -> UInt8Array:
    """Another picture (h, w, 3), stretched over the region, opaque where the picture has alpha."""
    height, width, channels = crop.shape
    is_smaller = height * width < patch.shape[0] * patch.shape[1]
    interpolation = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
    covering = _as_image(cv2.resize(patch, (width, height), interpolation=interpolation), patch)
    if channels == 3:
        return covering
    return np.concatenate([covering, np.full((height, width, 1), 255, np.uint8)], axis=2)


def within_ellipse(hidden: UInt8Array, crop: UInt8Array) -> UInt8Array:
    """`hidden` inside the ellipse inscribed in the region, hard-edged; `crop` outside of it."""
    inside = ellipse(*crop.shape[:2])
    return _as_image(cv2.copyTo(hidden, inside.view(np.uint8), crop.copy()), crop)


def ellipse(height: int, width: int) -> BoolArray:
    """Which pixels (height, width) lie inside the ellipse inscribed in a region."""
    y, x = np.ogrid[:height, :width]
    inside: BoolArray = ((2 * x + 1 - width) / width) ** 2 + ((2 * y + 1 - height) / height) ** 2 <= 1.0
    return inside


def premultiplied(crop: UInt8Array) -> UInt8Array:
    """Colours weighted by alpha, so that an effect does not mix in what is transparent."""
    weighted = crop.copy()
    weighted[..., :3] = (crop[..., :3].astype(np.uint16) * crop[..., 3:] + 127) // 255
    return weighted


def straight(crop: UInt8Array) -> UInt8Array:
    """The way back from `premultiplied`."""
    alpha = np.maximum(crop[..., 3:], 1).astype(np.uint16)
    colours = np.minimum((crop[..., :3].astype(np.uint16) * 255 + alpha // 2) // alpha, 255)
    result = crop.copy()
    result[..., :3] = np.where(crop[..., 3:] == 0, 0, colours)
    return result


def _reduced(crop: UInt8Array, width: int, height: int) -> UInt8Array:
    """The crop at a smaller size, by halves: OpenCV's code for any other share is twelve times slower."""
    while crop.shape[1] >= 2 * width + 2 and crop.shape[0] >= 2 * height + 2:
        half = crop.shape[1] // 2, crop.shape[0] // 2
        even = crop[: 2 * half[1], : 2 * half[0]]  # what is cut off is under a pixel of the result
        crop = _as_image(cv2.resize(even, half, interpolation=cv2.INTER_AREA), crop)
    return _as_image(cv2.resize(crop, (width, height), interpolation=cv2.INTER_LINEAR), crop)


def _blurred(crop: UInt8Array, sigma_x: float, sigma_y: float, kernel: int = 0) -> UInt8Array:
    # A kernel of 0 lets OpenCV cut it at 3 sigma for 8-bit pictures; 4 sigma keeps the tails.
    size = (kernel, kernel) if kernel else (2 * round(4 * sigma_x) + 1, 2 * round(4 * sigma_y) + 1)
    blurred = cv2.GaussianBlur(crop, size, sigma_x, sigmaY=sigma_y, borderType=cv2.BORDER_REFLECT_101)
    return _as_image(blurred, crop)


def _as_image(pixels: object, like: UInt8Array) -> UInt8Array:
    """OpenCV drops the last axis of one-channel pictures only; ours have three or four."""
    image: UInt8Array = np.asarray(pixels, np.uint8)
    return image.reshape(*image.shape[:2], like.shape[2])
