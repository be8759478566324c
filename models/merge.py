"""The faces of one picture out of several passes over it, each once."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, get_args

import numpy as np

from models.boxes import areas, overlaps
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
"""A part goes when so much of it lies in a whole face"""
LEAST_OF_PART: Final = 0.5
"""that has at least this share of its score."""
SAME_FACE: Final = 0.4
"""IoU from which on two kinds of passes agree about a face."""
AGREEMENT: Final = 0.3
"""What agreeing is worth: a score s rises by this share of the other's, times 1 - s. Recall at equal false
positives is the same within half a point from 0.15 to 0.3."""
KINDS: Final[tuple[PassKind, ...]] = get_args(PassKind)
MOST_OF_PASS: Final = 2000
"""Boxes of one pass that are merged, the best: a crowd has fewer, the lowest confidences have many more."""
CHUNK: Final = 256
"""Boxes that are compared with others at once: bounds the memory."""


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
    """Boxes of several passes."""

    boxes: Float32Array  # (N, 4) source pixels
    scores: Float32Array  # (N,)
    landmarks: Float32Array | None  # (N, 5, 2)
    owners: Int64Array  # (N,) index of the pass
    are_parts: BoolArray  # (N,) they end where their tile ends

    def rows(self, chosen: Int64Array) -> "_Pool":
        """Some of the boxes."""
        landmarks = None if self.landmarks is None else self.landmarks[chosen]
        return _Pool(
            self.boxes[chosen], self.scores[chosen], landmarks, self.owners[chosen], self.are_parts[chosen]
        )


def merge(passes: Sequence[Pass], params: DetectParams, width: int, height: int) -> Merged:
    """Faces of one picture from `params.floor` on.

    A face that passes of several kinds see scores higher than in each of them (`_agreed`). Of the pass at
    half scale only large boxes count. Where a tile ends it shows parts of faces (`_whole_for_parts`); a part
    that no whole face replaces stays.

    Args:
        passes: What each found from `lowest(params.floor)` on or lower; first the one over the whole picture.
        params: The request's own.
        width: Of the upright picture, pixels.
        height: Of the upright picture, pixels.
    """
    started = time.perf_counter()
    pool = _pooled(passes, lowest(params.floor), width, height)
    pool = _agreed(pool, np.array([KINDS.index(one.kind) for one in passes]))
    pool = _whole_for_parts(pool, params.nms_threshold)
    pool = pool.rows(np.flatnonzero(pool.scores >= params.floor))
    # `nms` is made for coordinates of the canvas.
    on_canvas = pool.boxes * np.float32(INPUT_SIZE / max(width, height))
    kept = nms(on_canvas, params.nms_threshold)[: params.max_faces or None].astype(np.int64)
    finders = np.bincount(_finders(pool, kept, params.nms_threshold), minlength=len(passes))
    chosen = pool.rows(kept)
    merged = Detections(
        boxes=chosen.boxes,
        scores=chosen.scores,
        landmarks=chosen.landmarks,
        candidates=sum(one.found.candidates for one in passes),
        postprocess_ms=0.0,
        nms_ms=(time.perf_counter() - started) * 1e3,
    )
    return Merged(merged, tuple(finders.tolist()))


def lowest(floor: float) -> float:
    """The lowest score that agreement raises to `floor` when the other's is under it, too."""
    return (1 - AGREEMENT) * floor / (1 - AGREEMENT * floor)


def _pooled(passes: Sequence[Pass], least: float, width: int, height: int) -> _Pool:
    """Boxes of all passes, one pass after the other."""
    found = [one.found.part(0, MOST_OF_PASS) for one in passes]
    boxes = np.concatenate([one.boxes for one in found])
    scores = np.concatenate([one.scores for one in found])
    owners = np.repeat(np.arange(len(passes)), [len(one.boxes) for one in found])
    are_parts = np.concatenate(
        [_are_parts(one.boxes, passes[index].tile, width, height) for index, one in enumerate(found)]
    )
    halves = [index for index, one in enumerate(passes) if one.kind == "half"]
    counted = (scores >= least) & (~np.isin(owners, halves) | is_large(boxes, width, height))
    points = [one.landmarks for one in found if one.landmarks is not None]
    landmarks = np.concatenate(points) if len(points) == len(found) else None
    return _Pool(boxes, scores, landmarks, owners, are_parts).rows(np.flatnonzero(counted))


def _are_parts(boxes: Float32Array, tile: Tile | None, width: int, height: int) -> BoolArray:
    """(N,) which boxes of a pass reach an end of its tile behind which the picture goes on."""
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


def _agreed(pool: _Pool, kinds: Int64Array) -> _Pool:
    """The pool with the scores of faces raised that several kinds of passes have.

    Args:
        pool: Boxes of all passes.
        kinds: (P,) of each pass.
    """
    if len(set(kinds.tolist())) < 2:
        return pool
    scores, of_box = pool.scores.copy(), kinds[pool.owners]
    for start in range(0, len(scores), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(scores)))
        near = _near(pool.boxes, rows)
        _, iou = overlaps(pool.boxes[rows], pool.boxes[near])
        others = (iou > SAME_FACE) & (of_box[rows, None] != of_box[near])
        best = np.where(others, pool.scores[near], 0).max(axis=1, initial=0)
        scores[rows] += np.float32(AGREEMENT) * best * (1 - scores[rows])
    return replace(pool, scores=scores)


def _whole_for_parts(pool: _Pool, threshold: float) -> _Pool:
    """The pool without parts that a whole face stands for, by falling score.

    That face has at least `LEAST_OF_PART` of the part's score, and gets the better score of both: a face that
    a tile's end cuts is not less sure than its part.
    """
    scores, are_replaced = pool.scores.copy(), np.zeros(len(pool.scores), bool)
    parts = np.flatnonzero(pool.are_parts)
    for start in range(0, len(parts), CHUNK):
        rows = parts[start : start + CHUNK]
        near = _near(pool.boxes, rows)
        wholes = near[~pool.are_parts[near]]
        if not len(wholes):
            continue
        shared, iou = overlaps(pool.boxes[rows], pool.boxes[wholes])
        stands_for = (iou > threshold) | (shared >= COVERED * areas(pool.boxes[rows])[:, None])
        stands_for &= pool.scores[wholes] >= LEAST_OF_PART * pool.scores[rows][:, None]
        are_replaced[rows] = stands_for.any(axis=1)
        best = np.where(stands_for, iou, -1).argmax(axis=1)
        replaced = rows[are_replaced[rows]]
        np.maximum.at(scores, wholes[best[are_replaced[rows]]], pool.scores[replaced])
    left = np.flatnonzero(~are_replaced)
    return replace(pool, scores=scores).rows(left[np.argsort(-scores[left], kind="stable")])


def _finders(pool: _Pool, kept: Int64Array, threshold: float) -> Int64Array:
    """(K,) for each face that stays, in no order, the first pass that has a box of it."""
    finders = [np.empty(0, np.int64)]
    by_pass = kept[np.argsort(pool.owners[kept], kind="stable")]
    for start in range(0, len(kept), CHUNK):
        rows = by_pass[start : start + CHUNK]
        near = _near(pool.boxes, rows)
        _, iou = overlaps(pool.boxes[rows], pool.boxes[near])
        own = pool.owners[rows]
        finders.append(np.where(iou > threshold, pool.owners[near], own[:, None]).min(axis=1))
    return np.concatenate(finders)


def _near(boxes: Float32Array, rows: Int64Array) -> Int64Array:
    """Which boxes reach into the rectangle around those of `rows`: for boxes of one tile, few of all."""
    low, high = boxes[rows, :2].min(axis=0), boxes[rows, 2:].max(axis=0)
    return np.flatnonzero(((boxes[:, :2] < high) & (boxes[:, 2:] > low)).all(axis=1))
