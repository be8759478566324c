"""What somebody does who has the masked picture, knows how it was made, and wants the face back."""

import math
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from deployments.masking.effects import gaussian, sigma_of, within_ellipse
from deployments.types import MaskFill

MOST_SIDE: Final = 112
"""Pixels: faces are attacked at this size, as a recogniser looks at them."""

NOISES: Final = (1e-1, 1e-2, 1e-3, 1e-4)
"""Noise that the filter reckons with, as shares of the signal: the attacker tries all and keeps the best."""

FloatArray = npt.NDArray[np.float64]


def psnr(a: FloatArray, b: FloatArray) -> float:
    """Peak signal-to-noise ratio of two pictures of 0 to 255, in dB; at most 100."""
    error = float(((a - b) ** 2).mean())
    return min(100.0, 10 * math.log10(255**2 / max(error, 1e-9)))


def restored(hidden: FloatArray, truth: FloatArray, fill: MaskFill, strength: int) -> FloatArray:
    """The best that can be had from a hidden region by least squares, of which kernel and size are known.

    The truth only chooses among the attacker's tries: more than anybody could have.

    Args:
        hidden: (h, w, 3) as published, or the mean of several results.
        truth: (h, w, 3) what was hidden.
        fill: What hid it.
        strength: Kernel or block, pixels.

    Returns:
        (h, w, 3) of 0 to 255.
    """
    height, width = hidden.shape[:2]
    scale = min(1.0, MOST_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if fill == "blur":
        small = _resized(hidden, size)
        tries = wiener(small, sigma_of(strength | 1) * scale)
    elif fill == "pixelate":
        tries = [_resized(_interpolated(hidden, strength), size)]
    else:
        tries = []
    tries = [hidden, *(_resized(one, (width, height)) for one in tries)]
    return max(tries, key=lambda one: psnr(one, truth))


def blurred_throughout(hidden: FloatArray, kernel: int) -> FloatArray:
    """A region (h, w, 3) of which only the ellipse is blurred, with its corners blurred alike."""
    seen = np.clip(np.rint(hidden), 0, 255).astype(np.uint8)
    ones = np.ones_like(seen)
    inside = within_ellipse(ones, np.zeros_like(seen)).astype(bool)
    return np.where(inside, hidden, gaussian(seen, kernel))


def wiener(blurred: FloatArray, sigma: float) -> list[FloatArray]:
    """Deblurred once for each of NOISES: H / (H² + noise) in the frequencies of the mirrored picture.

    Args:
        blurred: (h, w, 3).
        sigma: Of the Gaussian that blurred it, pixels.
    """
    height, width = blurred.shape[:2]
    mirrored = np.pad(blurred, ((0, height), (0, width), (0, 0)), mode="symmetric")
    spectrum = np.fft.rfft2(mirrored, axes=(0, 1))
    rows = np.fft.fftfreq(2 * height)[:, None]
    columns = np.fft.rfftfreq(2 * width)[None, :]
    kernel = np.exp(-2 * (np.pi * sigma) ** 2 * (rows**2 + columns**2))[..., None]
    return [
        np.clip(
            np.fft.irfft2(spectrum * kernel / (kernel**2 + noise) * (1 + noise), mirrored.shape[:2], (0, 1))[
                :height, :width
            ],
            0,
            255,
        )
        for noise in NOISES
    ]


def _interpolated(hidden: FloatArray, block: int) -> FloatArray:
    """The blocks' colours as samples of a smooth picture."""
    height, width = hidden.shape[:2]
    rows, columns = -(-height // block), -(-width // block)
    ys = np.minimum(np.arange(rows) * block + block // 2, height - 1)
    xs = np.minimum(np.arange(columns) * block + block // 2, width - 1)
    smooth = cv2.resize(
        hidden[np.ix_(ys, xs)], (columns * block, rows * block), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(np.asarray(smooth, np.float64)[:height, :width], 0, 255)


def _resized(pixels: FloatArray, size: tuple[int, int]) -> FloatArray:
    is_smaller = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
    interpolation = cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=interpolation), np.float64)
