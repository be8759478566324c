"""From the raw outputs of one picture to its faces: threshold, decode, suppress, map back."""

import time
from functools import lru_cache
from typing import Final

import numpy as np

from models.errors import InferenceError
from models.types import INPUT_SIZE, Canvas, Detections, DetectParams, Float32Array, Int32Array

STRIDES: Final = (8, 16, 32)
ANCHORS_PER_CELL: Final = 2
NMS_BLOCK: Final = 256
"""Candidates compared at once in `nms`: bounds its memory and keeps most comparisons vectorised."""


def postprocess(
    scores: list[Float32Array],
    boxes: list[Float32Array],
    landmarks: list[Float32Array] | None,
    canvas: Canvas,
    params: DetectParams,
) -> Detections:
    """Faces of one picture.

    Args:
        scores: For each stride (A, 1), after the sigmoid.
        boxes: For each stride (A, 4) distances left, top, right, bottom from the anchor, in strides.
        landmarks: For each stride (A, 10) offsets x, y of five points from the anchor, in strides.
        canvas: Gives the way back to source pixels.
        params: The request's own thresholds.

    Raises:
        InferenceError: A score, box or landmark is not finite.
    """
    started = time.perf_counter()
    found = [_candidates(index, scores, boxes, landmarks, params) for index in range(len(STRIDES))]
    all_scores, all_boxes, all_landmarks = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if not (np.isfinite(all_boxes).all() and np.isfinite(all_landmarks).all()):
        raise InferenceError("the model returned numbers that are not finite")
    order = np.argsort(-all_scores, kind="stable")
    all_scores, all_boxes, all_landmarks = all_scores[order], all_boxes[order], all_landmarks[order]
    decoded = time.perf_counter()
    kept = nms(all_boxes, params.nms_threshold)
    suppressed = time.perf_counter()

    scale = np.array([canvas.scale_x, canvas.scale_y], np.float32)
    limit = np.array([canvas.width, canvas.height] * 2, np.float32)
    source_boxes: Float32Array = np.clip(all_boxes[kept] / np.tile(scale, 2), 0, limit).astype(np.float32)
    visible = (source_boxes[:, 2:] > source_boxes[:, :2]).all(axis=1)
    chosen = np.flatnonzero(visible)[: params.max_faces or None]
    kept = kept[chosen]
    points = None if landmarks is None else (all_landmarks[kept].reshape(-1, 5, 2) / scale).astype(np.float32)
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

    A box goes when its IoU with a better one that stays is above `threshold`. Works through blocks: each is
    first compared with all boxes kept so far, then within itself.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = np.empty(0, np.int32)
    for start in range(0, len(boxes), NMS_BLOCK):
        block = np.arange(start, min(start + NMS_BLOCK, len(boxes)), dtype=np.int32)
        for first in range(0, len(kept), 1024):
            rivals = kept[first : first + 1024]
            block = block[~(_iou(boxes, areas, block, rivals) > threshold).any(axis=1)]
        over = np.triu(_iou(boxes, areas, block, block) > threshold, 1)
        alive = np.ones(len(block), bool)
        for row in np.flatnonzero(over.any(axis=1)):
            if alive[row]:
                alive &= ~over[row]
        kept = np.concatenate([kept, block[alive]])
    return kept


def _iou(boxes: Float32Array, areas: Float32Array, a: Int32Array, b: Int32Array) -> Float32Array:
    """(len(a), len(b)) intersection over union; 0 for empty boxes."""
    low = np.maximum(boxes[a, None, :2], boxes[None, b, :2])
    high = np.minimum(boxes[a, None, 2:], boxes[None, b, 2:])
    sides = np.maximum(high - low, 0)
    shared = sides[..., 0] * sides[..., 1]
    union = areas[a, None] + areas[None, b] - shared
    iou: Float32Array = shared / np.maximum(union, np.float32(1e-9))
    return iou


def _candidates(
    index: int,
    scores: list[Float32Array],
    boxes: list[Float32Array],
    landmarks: list[Float32Array] | None,
    params: DetectParams,
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Scores (K,), boxes (K, 4) and landmarks (K, 10) in canvas pixels of one stride, over the threshold."""
    stride = STRIDES[index]
    flat = scores[index].reshape(-1)
    if np.isnan(flat).any():
        raise InferenceError("the model returned scores that are not numbers")
    rows = np.flatnonzero(flat >= params.confidence)
    anchors = _anchors(INPUT_SIZE // stride, INPUT_SIZE // stride, stride)[rows]
    distances = boxes[index][rows] * np.float32(stride)
    corners = np.concatenate([anchors - distances[:, :2], anchors + distances[:, 2:]], axis=1)
    if landmarks is None:
        return flat[rows], corners, np.empty((len(rows), 0), np.float32)
    points = np.tile(anchors, 5) + landmarks[index][rows] * np.float32(stride)
    return flat[rows], corners, points


@lru_cache(maxsize=8)
def _anchors(rows: int, columns: int, stride: int) -> Float32Array:
    """(rows * columns * 2, 2) anchor centres x, y: grid index times stride, without a half-cell shift."""
    y, x = np.mgrid[:rows, :columns]
    centres = np.stack([x, y], axis=-1).reshape(-1, 2) * stride
    return np.repeat(centres, ANCHORS_PER_CELL, axis=0).astype(np.float32)
