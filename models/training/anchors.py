"""Which anchors shall find which face.

Zhang et al., "Bridging the Gap Between Anchor-based and Anchor-free Detection via Adaptive Training Sample
Selection" (ATSS), arXiv 1912.02424. In numpy, since the pictures' threads do it beside the network.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from models.boxes import overlaps
from models.training.network import ANCHORS, STRIDES
from models.types import Float32Array

SIZES: Final = (2, 4)
"""Sides of a cell's two anchors in strides: 16 and 32 pixels at stride 8, up to 512 at stride 32."""
NEAREST: Final = 9
"""Candidates of a face at each stride."""

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Anchors:
    """All anchors of one canvas, stride after stride, rows of cells, two a cell."""

    centres: Float32Array  # (A, 2) x, y in canvas pixels
    boxes: Float32Array  # (A, 4) x1, y1, x2, y2
    strides: Float32Array  # (A,)
    levels: tuple[slice, ...]  # where each stride's anchors lie


@lru_cache(maxsize=8)
def make_anchors(size: int) -> Anchors:
    """The anchors of a square canvas. A centre is its grid index times the stride, without half a cell."""
    centres, sides, strides, levels, start = [], [], [], [], 0
    for stride in STRIDES:
        cells = size // stride
        y, x = np.mgrid[:cells, :cells] * stride
        grid = np.stack([x, y], -1).reshape(-1, 2).repeat(ANCHORS, 0)
        centres.append(grid)
        sides.append(np.tile([side * stride for side in SIZES], cells * cells))
        strides.append(np.full(len(grid), stride))
        levels.append(slice(start, start + len(grid)))
        start += len(grid)
    all_centres = np.concatenate(centres).astype(np.float32)
    half = (np.concatenate(sides) / 2).astype(np.float32)[:, None]
    boxes = np.concatenate([all_centres - half, all_centres + half], 1)
    return Anchors(all_centres, boxes, np.concatenate(strides).astype(np.float32), tuple(levels))


def assign(anchors: Anchors, faces: Float32Array) -> IntArray:
    """Choose the anchors of each face.

    At every stride the NEAREST anchors by centre are candidates; those whose IoU with the face is at least
    the mean plus the standard deviation over its candidates, and whose centre lies within it, are chosen. A
    face smaller than the grid may hold no centre: its border then lies half a stride away, and the best
    candidate is always chosen. An anchor that several faces choose goes to the one with the highest IoU.

    Args:
        anchors: Of the canvas.
        faces: (F, 4) x1, y1, x2, y2 in canvas pixels.

    Returns:
        (A,) index of the face, -1 for the background.
    """
    chosen = np.full(len(anchors.centres), -1, np.int64)
    if len(faces) == 0:
        return chosen
    middles = (faces[:, :2] + faces[:, 2:]) / 2
    candidates = []
    for level in anchors.levels:
        offsets = middles[:, None] - anchors.centres[None, level]
        distances = np.einsum("fac,fac->fa", offsets, offsets)
        nearest = min(NEAREST, distances.shape[1])
        candidates.append(np.argpartition(distances, nearest - 1, axis=1)[:, :nearest] + level.start)
    indices = np.concatenate(candidates, 1)  # (F, C)
    ious = np.stack([overlaps(faces[f : f + 1], anchors.boxes[indices[f]])[1][0] for f in range(len(faces))])
    threshold = ious.mean(1) + ious.std(1)
    reach = np.maximum((faces[:, 2:] - faces[:, :2]) / 2, 0)[:, None]
    reach = np.maximum(reach, anchors.strides[indices][..., None] / 2)
    inside = (np.abs(anchors.centres[indices] - middles[:, None]) <= reach).all(2)
    good = (ious >= threshold[:, None]) & inside
    good[np.arange(len(faces)), ious.argmax(1)] = True

    face, place = np.nonzero(good)
    order = np.argsort(ious[face, place], kind="stable")  # the best one writes last
    chosen[indices[face, place][order]] = face[order]
    return chosen
