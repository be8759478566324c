"""WIDER FACE average precision, by the protocol of the benchmark's own evaluation code.

Yang et al., "WIDER FACE: A Face Detection Benchmark", CVPR 2016. Scores are stretched to 0..1 over the whole
set, precision and recall are taken at 1,000 thresholds, a hit needs IoU >= 0.5 (with the +1 of the
benchmark's pixel-inclusive boxes), and faces outside a level are ignored: neither hit nor false alarm.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.types import BoolArray, Float32Array

LEVELS: Final = ("easy", "medium", "hard")
THRESHOLDS: Final = 1000
HIT_IOU: Final = 0.5

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One picture of the dataset with its annotated faces."""

    file: str  # relative to the folder `images`
    boxes: FloatArray  # (G, 4) x1, y1, x2, y2
    counted: Mapping[str, IntArray]  # level -> indices of the boxes that count


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a detector found in one picture."""

    boxes: Float32Array  # (N, 4) x1, y1, x2, y2
    scores: Float32Array  # (N,)


def load_dataset(folder: Path) -> list[LabelledImage]:
    """Read `ground_truth.json` of a dataset folder."""
    entries: list[dict[str, Any]] = json.loads((folder / "ground_truth.json").read_text())
    return [_labelled(entry) for entry in entries]


def average_precision(
    images: Sequence[LabelledImage], predictions: Sequence[Predictions]
) -> dict[str, float]:
    """AP of each level in 0..1; `predictions` in the order of `images`."""
    scores = _stretched(predictions)
    order = [np.argsort(-s, kind="stable") for s in scores]
    boxes = [p.boxes[o].astype(np.float64) for p, o in zip(predictions, order, strict=True)]
    ranked = [s[o] for s, o in zip(scores, order, strict=True)]
    return {level: _level(level, images, boxes, ranked) for level in LEVELS}


def _labelled(entry: dict[str, Any]) -> LabelledImage:
    corners = np.asarray(entry["boxes_xywh"], np.float64).reshape(-1, 4).copy()
    corners[:, 2:] += corners[:, :2]
    counted = {level: np.asarray(entry[f"{level}_idx"], np.int64) for level in LEVELS}
    return LabelledImage(entry["file"], corners, counted)


def _stretched(predictions: Sequence[Predictions]) -> list[FloatArray]:
    all_scores = np.concatenate([p.scores for p in predictions]).astype(np.float64)
    if not len(all_scores):
        return [np.zeros(0) for _ in predictions]
    low, spread = all_scores.min(), max(np.ptp(all_scores), 1e-12)
    return [(p.scores.astype(np.float64) - low) / spread for p in predictions]


def _level(
    level: str, images: Sequence[LabelledImage], boxes: list[FloatArray], scores: list[FloatArray]
) -> float:
    thresholds = 1 - (np.arange(THRESHOLDS) + 1) / THRESHOLDS
    proposed, found, faces = np.zeros(THRESHOLDS), np.zeros(THRESHOLDS), 0
    for image, predicted, ranked in zip(images, boxes, scores, strict=True):
        counted = image.counted[level]
        faces += len(counted)
        if not len(image.boxes) or not len(predicted):
            continue
        counts = np.zeros(len(image.boxes), bool)
        counts[counted] = True
        real, hits = match(image.boxes, counts, predicted)
        # For each threshold, the last prediction at or above it.
        last = np.searchsorted(-ranked, -thresholds, side="right") - 1
        taken = last >= 0
        proposed[taken] += np.cumsum(real)[last[taken]]
        found[taken] += np.cumsum(hits)[last[taken]]
    precision = np.divide(found, proposed, out=np.zeros_like(found), where=proposed > 0)
    return _area(found / max(faces, 1), precision)


def match(truth: FloatArray, counts: BoolArray, predicted: FloatArray) -> tuple[BoolArray, BoolArray]:
    """Which predictions are judged at all, and which find a counted face first.

    Args:
        truth: (G, 4) annotated faces x1, y1, x2, y2, at least one.
        counts: (G,) those that are looked for; the others are neither hit nor false alarm.
        predicted: (N, 4) by falling score.
    """
    overlaps = _iou(predicted, truth)
    best = overlaps.argmax(axis=1)
    reached = overlaps[np.arange(len(predicted)), best] >= HIT_IOU
    real = ~(reached & ~counts[best])
    hits = np.zeros(len(predicted), bool)
    seen: set[int] = set()
    for index in np.flatnonzero(reached & counts[best]):
        face = int(best[index])
        hits[index] = face not in seen
        seen.add(face)
    return real, hits


def _iou(a: FloatArray, b: FloatArray) -> FloatArray:
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.maximum(high - low + 1, 0).prod(axis=2)
    areas_a, areas_b = ((x[:, 2:] - x[:, :2] + 1).prod(axis=1) for x in (a, b))
    iou: FloatArray = shared / (areas_a[:, None] + areas_b[None, :] - shared)
    return iou


def _area(recall: FloatArray, precision: FloatArray) -> float:
    """Area under the precision envelope over recall (PASCAL VOC 2010 and later)."""
    recall = np.concatenate([[0.0], recall, [1.0]])
    precision = np.concatenate([[0.0], precision, [0.0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(((recall[1:] - recall[:-1]) * envelope[1:]).sum())
