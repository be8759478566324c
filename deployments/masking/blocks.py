"""Between the quantised blocks of a JPEG and samples: the cosine transform, both ways (ITU-T T.81 A.3.3)."""

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from deployments.masking.jpeg_frame import SIDE
from models.types import Float32Array

Int16Array: TypeAlias = npt.NDArray[np.int16]

_MIDDLE: Final = 128.0
"""What a block of zeros stands for."""
_MOST: Final = 1023
"""Of a coefficient of 8-bit samples: baseline Huffman codes end there (T.81 F.1.2)."""


def _basis() -> Float32Array:
    """(64, 64): sample of coefficient, both row by row; its transpose is the way back."""
    steps = np.arange(SIDE)
    cosines = np.sqrt(2 / SIDE) * np.cos((2 * steps[None, :] + 1) * steps[:, None] * np.pi / (2 * SIDE))
    cosines[0] /= np.sqrt(2)
    return np.kron(cosines, cosines).astype(np.float32)


_BASIS: Final = _basis()


def to_samples(coefficients: Int16Array, quantisation: Float32Array) -> Float32Array:
    """Samples of blocks, neither rounded nor clipped.

    Args:
        coefficients: (rows, columns, 64), quantised.
        quantisation: (64,), row by row.

    Returns:
        (8 * rows, 8 * columns), 0-255 but for what quantisation made of them.
    """
    rows, columns, _ = coefficients.shape
    blocks = _product(coefficients.reshape(-1, SIDE * SIDE) * quantisation, _BASIS) + _MIDDLE
    tiled = blocks.reshape(rows, columns, SIDE, SIDE).transpose(0, 2, 1, 3)
    return tiled.reshape(rows * SIDE, columns * SIDE)


def to_coefficients(samples: Float32Array, quantisation: Float32Array) -> Int16Array:
    """Quantised blocks (rows, columns, 64) of samples (8 * rows, 8 * columns); see `to_samples`."""
    rows, columns = samples.shape[0] // SIDE, samples.shape[1] // SIDE
    tiled = samples.reshape(rows, SIDE, columns, SIDE).transpose(0, 2, 1, 3)
    blocks = _product(tiled.reshape(-1, SIDE * SIDE) - _MIDDLE, _BASIS.T) / quantisation
    rounded: Int16Array = np.clip(np.rint(blocks), -_MOST, _MOST).astype(np.int16)
    return rounded.reshape(rows, columns, SIDE * SIDE)


def _product(blocks: Float32Array, matrix: Float32Array) -> Float32Array:
    """(N, 64) @ (64, 64), sixty-four blocks at a time: on larger matrices OpenBLAS would start threads."""
    count = len(blocks)
    padded = np.zeros((-(-count // 64), 64, 64), np.float32)
    padded.reshape(-1, 64)[:count] = blocks
    product: Float32Array = (padded @ matrix).reshape(-1, 64)[:count]
    return product
