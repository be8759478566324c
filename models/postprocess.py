"""From the raw outputs of one picture to its faces: threshold, decode, suppress, map back."""

import time
from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from models.errors import InferenceError
from models.raw_faces import STRIDES, Candidates, RawFaces
from models.types import INPUT_SIZE, Canvas, Detections, DetectParams, Float32Array, Int32Array

ANCHORS_PER_CELL: Final = 2
FEW_BOXES: Final = 500
"""Up to so many, OpenCV's loop over all pairs is the quickest (0.4 ms)."""
STRIP_HEIGHT: Final = 64
MOST_PAIRS: Final = 4_000_000
"""Bounds the memory of `nms`: about 200 MB."""


def postprocess(
    raw: RawFaces,
    canvas: Canvas,
    params: DetectParams,
    blob_shape: tuple[int, int] = (INPUT_SIZE, INPUT_SIZE),
) -> Detections:
    """Faces of one picture.

    Args:
        raw: What the session said of it.
        canvas: Gives the way back to source pixels.
        params: The request's own thresholds.
        blob_shape: Height and width of what the session was given, multiples of 32: the anchors' grid.

    Raises:
        InferenceError: A score, box or landmark is not finite, or anchors are missing.
    """
    started = time.perf_counter()
    if not raw.is_complete(_anchor_counts(*blob_shape)):
        raise InferenceError("the model did not answer for every anchor")
    found = raw.candidates(params.confidence)
    all_scores = found.scores
    all_boxes, all_landmarks = _decoded(found, blob_shape)
    if not (np.isfinite(all_boxes).all() and np.isfinite(all_landmarks).all()):
        raise InferenceError("the model returned numbers that are not finite")
    order = np.argsort(-all_scores, kind="stable")
    all_scores, all_boxes, all_landmarks = all_scores[order], all_boxes[order], all_landmarks[order]
    decoded = time.perf_counter()
    kept = nms(all_boxes, params.nms_threshold)
    suppressed = time.perf_counter()

    scale = np.array([canvas.scale_x, canvas.scale_y], np.float32)
    limit = np.array([canvas.width, canvas.height] * 2, np.float32)
    if canvas.tile is not None:
        origin = np.array([canvas.tile.left, canvas.tile.top], np.float32)
        all_boxes, all_landmarks = (
            part + np.tile(origin, part.shape[1] // 2) for part in (all_boxes, all_landmarks)
        )
    source_boxes: Float32Array = np.clip(all_boxes[kept] / np.tile(scale, 2), 0, limit).astype(np.float32)
    visible = (source_boxes[:, 2:] > source_boxes[:, :2]).all(axis=1)
    chosen = np.flatnonzero(visible)[: params.max_faces or None]
    kept = kept[chosen]
    has_points = found.landmarks is not None
    points = (all_landmarks[kept].reshape(-1, 5, 2) / scale).astype(np.float32) if has_points else None
    ended = time.perf_counter()
    return Detections(
        boxes=source_boxes[chosen],
        scores=all_scores[kept],
        landmarks=points,
        candidates=len(order),
        postprocess_ms=(decoded - started + ended - suppressed) * 1e3,
        nms_ms=(suppressed - decoded) * 1e3,
    )


def nms(boxes: Float32Array, threshold: float) -> Int32Array:
    """Greedy non-maximum suppression: indices that stay, for boxes (N, 4) sorted by falling score.

    A box goes when its IoU with a better one that stays is above `threshold`. Few boxes are quickest in
    OpenCV's loop; for many, only neighbours are compared: 5,000 boxes of 1,000 faces take 5 ms, not 28.
    """
    if threshold >= 1 or len(boxes) < 2:
        return np.arange(len(boxes), dtype=np.int32)
    pairs = _overlapping_pairs(boxes, threshold) if len(boxes) > FEW_BOXES else None
    return _nms_loop(boxes, threshold) if pairs is None else _resolve(pairs, len(boxes))


def _nms_loop(boxes: Float32Array, threshold: float) -> Int32Array:
    corners_and_sizes = boxes.astype(np.float64)
    corners_and_sizes[:, 2:] -= corners_and_sizes[:, :2]
    falling = np.arange(len(boxes), 0, -1, dtype=np.float32)  # the order is known: any falling scores do
    kept = cv2.dnn.NMSBoxes(corners_and_sizes, falling, 0.0, threshold)  # type: ignore[arg-type]
    return np.asarray(kept, np.int32).reshape(-1)


def _overlapping_pairs(boxes: Float32Array, threshold: float) -> Int32Array | None:
    """(2, P) indices, better first, of boxes with an IoU above the threshold; None for too many to list.

    Works through horizontal strips: in each, boxes sorted by their left side are compared with those that
    begin before they end.
    """
    found: list[Int32Array] = []
    total = 0
    for top in range(0, INPUT_SIZE, STRIP_HEIGHT):
        # The outermost strips also take what lies beyond the canvas.
        below = boxes[:, 3] >= (top or -np.inf)
        bottom = top + STRIP_HEIGHT
        inside = np.flatnonzero(below & (boxes[:, 1] < (bottom if bottom < INPUT_SIZE else np.inf)))
        order = inside[np.argsort(boxes[inside, 0], kind="stable")]
        x1, y1, x2, y2 = boxes[order].T
        counts = np.searchsorted(x1, x2) - np.arange(1, len(order) + 1)
        np.maximum(counts, 0, out=counts)
        total += int(counts.sum())
        if total > MOST_PAIRS:
            return None
        left = np.repeat(np.arange(len(order)), counts)
        right = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts) + left + 1
        near = (y1[left] < y2[right]) & (y1[right] < y2[left])
        left, right = left[near], right[near]
        shared = (np.minimum(x2[left], x2[right]) - x1[right]) * (
            np.minimum(y2[left], y2[right]) - np.maximum(y1[left], y1[right])
        )
        areas = (x2 - x1) * (y2 - y1)
        over = shared > threshold * (areas[left] + areas[right] - shared)
        pair = np.stack([order[left[over]], order[right[over]]]).astype(np.int32)
        found.append(np.sort(pair, axis=0))
    return np.concatenate(found, axis=1)


def _resolve(pairs: Int32Array, count: int) -> Int32Array:
    """Greedy suppression in rounds: who has no better undecided neighbour stays, and its worse ones go."""
    undecided, kept = np.ones(count, bool), np.zeros(count, bool)
    while True:
        staying = undecided.copy()
        staying[pairs[1]] = False
        kept |= staying
        undecided &= ~staying
        undecided[pairs[1, staying[pairs[0]]]] = False
        if not undecided.any():
            return np.flatnonzero(kept).astype(np.int32)
        pairs = pairs[:, undecided[pairs[0]] & undecided[pairs[1]]]


def _decoded(found: Candidates, blob_shape: tuple[int, int]) -> tuple[Float32Array, Float32Array]:
    """Boxes (C, 4) and landmarks (C, 10), or (C, 0) without, in canvas pixels."""
    grid = _grid(*blob_shape)[found.anchors]
    centres, strides = grid[:, :2], grid[:, 2:]
    distances = found.boxes * strides
    corners = np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1)
    if found.landmarks is None:
        return corners, np.empty((len(corners), 0), np.float32)
    return corners, np.tile(centres, 5) + found.landmarks * strides


@lru_cache(maxsize=64)
def _anchor_counts(height: int, width: int) -> tuple[int, ...]:
    return tuple((height // stride) * (width // stride) * ANCHORS_PER_CELL for stride in STRIDES)


@lru_cache(maxsize=64)
def _grid(height: int, width: int) -> Float32Array:
    """(A, 3) x, y, stride of all anchors: centres lie at grid index times stride, no half cell further."""
    parts = []
    for stride in STRIDES:
        y, x = np.mgrid[: height // stride, : width // stride] * stride
        cells = np.stack([x, y, np.full_like(x, stride)], axis=-1).reshape(-1, 3)
        parts.append(np.repeat(cells, ANCHORS_PER_CELL, axis=0))
    return np.concatenate(parts).astype(np.float32)
