"""The faces of one picture out of several passes over it, each once."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.close_ups import is_large
from models.postprocess import nms
from models.types import (
    INPUT_SIZE,
    BoolArray,
    Detections,
    DetectParams,
    Float32Array,
    Int64Array,
    PassKind,
    Tile,
)

CUT_MARGIN: Final = 3.0
"""A box that ends so near to where its tile ends, in pixels of the tile, may be a part of a face."""
COVERED: Final = 0.7
"""A part goes when so much of it lies in a whole face."""
CHUNK: Final = 256
"""Boxes that are compared with all others at once: bounds the memory."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One run of the detector over a picture or a tile of it, and what it found."""

    kind: PassKind
    tile: Tile | None
    found: Detections


@dataclass(frozen=True, slots=True)
class Merged:
    """The faces of all passes."""

    detections: Detections  # their times are those of merging
    added: tuple[int, ...]  # faces of each pass that none before it has


@dataclass(frozen=True, slots=True)
class _Pool:
    """Boxes of all passes, those of whole faces first, each kind by falling score."""

    boxes: Float32Array  # (N, 4) source pixels
    scores: Float32Array  # (N,)
    landmarks: Float32Array | None  # (N, 5, 2)
    owners: Int64Array  # (N,) index of the pass
    are_parts: BoolArray  # (N,) they end where their tile ends


def merge(passes: Sequence[Pass], params: DetectParams, width: int, height: int) -> Merged:
    """Faces of one picture from `params.floor` on.

    Of the pass at half scale only large boxes count. A part of a face, seen where a tile ends, gives way to
    a whole face whatever that one's score, and leaves it the better score of the two. A part that no whole
    face replaces stays.

    Args:
        passes: What each found from `params.floor` on or lower; first the one over the whole picture.
        params: The request's own.
        width: Of the upright picture, pixels.
        height: Of the upright picture, pixels.
    """
    started = time.perf_counter()
    pool = _pooled(passes, params.floor, width, height)
    # `nms` is made for coordinates of the canvas.
    on_canvas = pool.boxes * np.float32(INPUT_SIZE / max(width, height))
    kept = np.sort(nms(on_canvas, params.nms_threshold)).astype(np.int64)
    scores, replaced = _whole_for_parts(pool, kept, params.nms_threshold)
    kept = kept[~replaced[kept]]
    kept = kept[np.argsort(-scores[kept], kind="stable")][: params.max_faces or None]
    finders = np.bincount(_finders(pool, kept, params.nms_threshold), minlength=len(passes))
    merged = Detections(
        boxes=pool.boxes[kept],
        scores=scores[kept],
        landmarks=None if pool.landmarks is None else pool.landmarks[kept],
        candidates=sum(one.found.candidates for one in passes),
        postprocess_ms=0.0,
        nms_ms=(time.perf_counter() - started) * 1e3,
    )
    return Merged(merged, tuple(finders.tolist()))


def _pooled(passes: Sequence[Pass], floor: float, width: int, height: int) -> _Pool:
    boxes = np.concatenate([one.found.boxes for one in passes])
    scores = np.concatenate([one.found.scores for one in passes])
    owners = np.repeat(np.arange(len(passes)), [len(one.found.boxes) for one in passes])
    are_parts = np.concatenate([_are_parts(one, width, height) for one in passes])
    halves = [index for index, one in enumerate(passes) if one.kind == "half"]
    counted = np.flatnonzero((scores >= floor) & (~np.isin(owners, halves) | is_large(boxes, width, height)))
    order = counted[np.lexsort((-scores[counted], are_parts[counted]))]
    points = [one.found.landmarks for one in passes if one.found.landmarks is not None]
    landmarks = np.concatenate(points)[order] if len(points) == len(passes) else None
    return _Pool(boxes[order], scores[order], landmarks, owners[order], are_parts[order])


def _are_parts(one: Pass, width: int, height: int) -> BoolArray:
    """(N,) which boxes of a pass reach an end of its tile behind which the picture goes on."""
    boxes, tile = one.found.boxes, one.tile
    if tile is None:
        return np.zeros(len(boxes), bool)
    scale = np.array([tile.whole_width / width, tile.whole_height / height] * 2, np.float32)
    x1, y1, x2, y2 = (boxes * scale - np.array([tile.left, tile.top] * 2, np.float32)).T
    at_left = (x1 < CUT_MARGIN) & (tile.left > 0)
    at_top = (y1 < CUT_MARGIN) & (tile.top > 0)
    at_right = (x2 > tile.width - CUT_MARGIN) & (tile.left + tile.width < tile.whole_width)
    at_bottom = (y2 > tile.height - CUT_MARGIN) & (tile.top + tile.height < tile.whole_height)
    at_any: BoolArray = at_left | at_top | at_right | at_bottom
    return at_any


def _whole_for_parts(pool: _Pool, kept: Int64Array, threshold: float) -> tuple[Float32Array, BoolArray]:
    """All scores (N,), those of kept whole faces raised to their parts'; and which boxes (N,) go as parts."""
    scores, replaced = pool.scores.copy(), np.zeros(len(pool.scores), bool)
    wholes, parts = kept[~pool.are_parts[kept]], np.flatnonzero(pool.are_parts)
    if not len(wholes):
        return scores, replaced
    for start in range(0, len(parts), CHUNK):
        rows = parts[start : start + CHUNK]
        shared, iou = _overlaps(pool.boxes[rows], pool.boxes[wholes])
        same = (iou > threshold) | (shared >= COVERED * _areas(pool.boxes[rows])[:, None])
        replaced[rows] = same.any(axis=1)
        best = np.where(same, pool.scores[rows][:, None], 0).max(axis=0)
        scores[wholes] = np.maximum(scores[wholes], best)
    return scores, replaced


def _finders(pool: _Pool, kept: Int64Array, threshold: float) -> Int64Array:
    """(K,) for each face that stays, the first pass that has a box of it."""
    finders = pool.owners[kept]
    for start in range(0, len(kept), CHUNK):
        rows = kept[start : start + CHUNK]
        _, iou = _overlaps(pool.boxes[rows], pool.boxes)
        others = np.where(iou > threshold, pool.owners, len(pool.owners)).min(axis=1)
        finders[start : start + CHUNK] = np.minimum(pool.owners[rows], others)
    return finders


def _overlaps(a: Float32Array, b: Float32Array) -> tuple[Float32Array, Float32Array]:
    """(A, B) areas that two boxes share, and their IoU."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared: Float32Array = np.maximum(high - low, 0).prod(axis=2)
    return shared, shared / (_areas(a)[:, None] + _areas(b)[None] - shared)


def _areas(boxes: Float32Array) -> Float32Array:
    areas: Float32Array = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return areas
