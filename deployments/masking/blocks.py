"""Between the quantised blocks of a JPEG and samples: the cosine transform, both ways (ITU-T T.81 A.3.3).

Each is a product with a matrix of 64 x 64, in portions that stay in the processor's cache.
"""

from typing import Final, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from deployments.masking.jpeg_frame import SIDE
from models.types import BoolArray, Float32Array, Int16Array, UInt8Array

S = TypeVar("S", np.uint8, np.bool_)
_SIZE: Final = SIDE * SIDE
_PORTION: Final = 512  # blocks
_MIDDLE: Final = 128.0
"""Samples are stored less this."""
_MOST: Final = 1023
"""Of a coefficient of 8-bit samples: baseline Huffman codes end there (T.81 F.1.2)."""


def _basis() -> Float32Array:
    """(64, 64): sample of coefficient, both row by row; its transpose is the way back."""
    steps = np.arange(SIDE)
    cosines = np.sqrt(2 / SIDE) * np.cos((2 * steps[None, :] + 1) * steps[:, None] * np.pi / (2 * SIDE))
    cosines[0] /= np.sqrt(2)
    return np.kron(cosines, cosines).astype(np.float32)


_BASIS: Final = _basis()
_BACK: Final = np.ascontiguousarray(_BASIS.T)


class _Product:
    """Blocks times a matrix, in room that is used again."""

    def __init__(self, matrix: Float32Array, most: int) -> None:
        self._matrix = matrix
        self._factors = np.zeros((-(-most // _SIZE), _SIZE, _SIZE), np.float32)
        self._products = np.empty_like(self._factors)

    def room(self, count: int) -> Float32Array:
        """(count, 64) to be filled."""
        return self._factors.reshape(-1, _SIZE)[:count]

    def take(self, count: int) -> Float32Array:
        """The product of what was filled in (count, 64).

        Sixty-four blocks at a time: on larger matrices OpenBLAS would start threads.
        """
        used = -(-count // _SIZE)
        np.matmul(self._factors[:used], self._matrix, out=self._products[:used])
        return self._products.reshape(-1, _SIZE)[:count]


def to_samples(coefficients: Int16Array, quantisation: Float32Array) -> Float32Array:
    """Samples (N, 64) of blocks (N, 64), neither rounded nor clipped.

    Args:
        coefficients: Quantised, row by row.
        quantisation: (64,), row by row.
    """
    count = len(coefficients)
    product = _Product(_BASIS * quantisation[:, None], count)
    np.copyto(product.room(count), coefficients)
    return product.take(count) + _MIDDLE


def to_levels(coefficients: Int16Array, quantisation: Float32Array) -> UInt8Array:
    """The same rounded and clipped, as viewers do."""
    levels = np.empty(coefficients.shape, np.uint8)
    product = _Product(_BASIS * quantisation[:, None], min(_PORTION, len(coefficients)))
    for first in range(0, len(coefficients), _PORTION):
        part = coefficients[first : first + _PORTION]
        np.copyto(product.room(len(part)), part)
        levels[first : first + _PORTION] = cv2.add(
            product.take(len(part)), np.full(1, _MIDDLE), dtype=cv2.CV_8U
        )
    return levels


def to_plane(blocks: UInt8Array, rows: int, columns: int) -> UInt8Array:
    """The picture (8 * rows, 8 * columns) of blocks (rows * columns, 64)."""
    tiled = blocks.reshape(rows, columns, SIDE, SIDE).transpose(0, 2, 1, 3)
    return tiled.reshape(rows * SIDE, columns * SIDE)


def some_blocks(plane: npt.NDArray[S], which: BoolArray) -> npt.NDArray[S]:
    """(K, 64) those blocks (rows, columns) of a plane (8 * rows, 8 * columns)."""
    rows, columns = which.shape
    tiled = plane.reshape(rows, SIDE, columns, SIDE).transpose(0, 2, 1, 3)
    return tiled[which].reshape(-1, _SIZE)


def to_coefficients(samples: Float32Array | UInt8Array, quantisation: Float32Array) -> Int16Array:
    """Quantised blocks (N, 64) of samples (N, 64)."""
    coefficients = np.empty(samples.shape, np.int16)
    product = _Product(_BACK / quantisation, min(_PORTION, len(samples)))
    for first in range(0, len(samples), _PORTION):
        part = samples[first : first + _PORTION]
        np.subtract(part, _MIDDLE, out=product.room(len(part)), dtype=np.float32)
        spectrum = product.take(len(part))
        np.clip(np.rint(spectrum, out=spectrum), -_MOST, _MOST, out=spectrum)
        np.copyto(coefficients[first : first + _PORTION], spectrum, casting="unsafe")
    return coefficients
