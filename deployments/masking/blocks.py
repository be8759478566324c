"""Between the quantised blocks of a JPEG and samples: the cosine transform, both ways (ITU-T T.81 A.3.3)."""

from typing import Final, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from deployments.masking.jpeg_frame import SIDE
from models.types import Float32Array, Int16Array, UInt8Array

S = TypeVar("S", np.uint8, np.bool_)
_SIZE: Final = SIDE * SIDE
MIDDLE: Final = 128.0
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


def to_samples(coefficients: Int16Array, quantisation: Float32Array) -> Float32Array:
    """Samples of blocks less 128, neither rounded nor clipped.

    Args:
        coefficients: (rows, columns, 64), quantised.
        quantisation: (64,), row by row.

    Returns:
        (rows * columns, 64), block by block.
    """
    rows, columns, _ = coefficients.shape
    padded, blocks = _room(rows * columns)
    np.copyto(blocks.reshape(rows, columns, _SIZE), coefficients)
    return _product(padded, _BASIS * quantisation[:, None])[: rows * columns]


def to_plane(samples: Float32Array, rows: int, columns: int) -> UInt8Array:
    """The picture (8 * rows, 8 * columns) of `to_samples`, rounded and clipped."""
    whole = np.asarray(cv2.add(samples, np.full(1, MIDDLE), dtype=cv2.CV_8U), np.uint8)
    tiled = whole.reshape(rows, columns, SIDE, SIDE).transpose(0, 2, 1, 3)
    return tiled.reshape(rows * SIDE, columns * SIDE)


def to_blocks(plane: npt.NDArray[S]) -> npt.NDArray[S]:
    """(N, 64), block by block, of whole blocks (8 * rows, 8 * columns)."""
    height, width = plane.shape
    tiled = plane.reshape(height // SIDE, SIDE, width // SIDE, SIDE).transpose(0, 2, 1, 3)
    return tiled.reshape(-1, _SIZE)


def to_coefficients(samples: Float32Array, quantisation: Float32Array) -> Int16Array:
    """Quantised blocks (N, 64) of samples less 128 (N, 64)."""
    padded, blocks = _room(len(samples))
    np.copyto(blocks, samples)
    spectrum = _product(padded, _BACK / quantisation)[: len(samples)]
    rounded = np.rint(spectrum, out=spectrum).astype(np.int16)
    return np.clip(rounded, -_MOST, _MOST, out=rounded)


def _room(count: int) -> tuple[Float32Array, Float32Array]:
    """(N, 64, 64) for so many blocks, and those of it (count, 64) to be filled."""
    padded = np.empty((-(-count // _SIZE), _SIZE, _SIZE), np.float32)
    blocks = padded.reshape(-1, _SIZE)
    blocks[count:] = 0.0
    return padded, blocks[:count]


def _product(blocks: Float32Array, matrix: Float32Array) -> Float32Array:
    """(N, 64, 64) @ (64, 64) as (64 * N, 64): on one large matrix OpenBLAS would start threads."""
    product: Float32Array = blocks @ matrix
    return product.reshape(-1, _SIZE)
