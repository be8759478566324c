"""What a session says of one picture, before threshold and suppression: in full, or the best anchors only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from models.errors import InferenceError
from models.types import Float32Array, Int64Array

STRIDES: Final = (8, 16, 32)
WIDTHS: Final = (1, 4, 10)
"""Numbers of an anchor: its score, its box, its landmarks."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Anchors with a score over the threshold, by rising anchor."""

    anchors: Int64Array  # (C,) counted through stride 8, then 16, then 32: row, column, two for each cell
    scores: Float32Array  # (C,) after the sigmoid
    boxes: Float32Array  # (C, 4) distances left, top, right, bottom from the anchor, in strides
    landmarks: Float32Array | None  # (C, 10) offsets x, y of five points from the anchor, in strides


class RawFaces(Protocol):
    """The answer of a session for one picture."""

    def candidates(self, confidence: float) -> Candidates:
        """Anchors with at least this score.

        Raises:
            InferenceError: A score is not a number.
        """
        ...

    def is_complete(self, anchors: Sequence[int]) -> bool:
        """Whether every anchor was looked at: one left out would be a face missed without a word.

        Args:
            anchors: How many there are at each stride.
        """
        ...

    def difference(self, other: "RawFaces") -> float:
        """Largest difference of a number, relative to the largest of its kind above 1; inf, NaN: no match."""
        ...


@dataclass(frozen=True, slots=True)
class HeadOutputs:
    """Every anchor's numbers, as CPUs return them."""

    outputs: Sequence[Float32Array]
    """Scores (A, 1), then boxes (A, 4), then landmarks (A, 10) if there are any; each for three strides."""

    def candidates(self, confidence: float) -> Candidates:
        """See `RawFaces`."""
        first, found = 0, []
        for index in range(len(STRIDES)):
            scores = self.outputs[index].reshape(-1)
            if np.isnan(scores).any():
                raise InferenceError("the model returned scores that are not numbers")
            rows = np.flatnonzero(scores >= confidence)
            others = self.outputs[index + len(STRIDES) :: len(STRIDES)]
            found.append([rows + first, scores[rows], *(output[rows] for output in others)])
            first += len(scores)
        anchors, scores, boxes, *landmarks = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return Candidates(anchors, scores, boxes, landmarks[0] if landmarks else None)

    def is_complete(self, anchors: Sequence[int]) -> bool:
        """See `RawFaces`."""
        kinds = WIDTHS[: len(self.outputs) // len(STRIDES)]
        expected = [(count, width) for width in kinds for count in anchors]
        return len(kinds) > 1 and [output.shape for output in self.outputs] == expected

    def difference(self, other: RawFaces) -> float:
        """See `RawFaces`."""
        if not isinstance(other, HeadOutputs) or len(self.outputs) != len(other.outputs):
            return float("inf")
        return _largest(zip(self.outputs, other.outputs, strict=True))


@dataclass(frozen=True, slots=True)
class BestAnchors:
    """The best anchors of each stride, as `gpu_graph` lets them through; in no order."""

    scores: Float32Array  # (B,) after the sigmoid; above 1 where it was not a number
    anchors: Int64Array  # (B,) as in Candidates
    boxes: Float32Array  # (B, 4)
    landmarks: Float32Array | None  # (B, 10)

    def candidates(self, confidence: float) -> Candidates:
        """See `RawFaces`."""
        if not (self.scores <= 1).all():
            raise InferenceError("the model returned scores that are not numbers")
        rows = np.flatnonzero(self.scores >= confidence)
        rows = rows[np.argsort(self.anchors[rows])]
        landmarks = None if self.landmarks is None else self.landmarks[rows]
        return Candidates(self.anchors[rows], self.scores[rows], self.boxes[rows], landmarks)

    def is_complete(self, anchors: Sequence[int]) -> bool:
        """See `RawFaces`. The graph looked at all of them; the coarsest stride's are all among the best."""
        return len(self.scores) >= anchors[-1] and len(self.scores) == len(self.anchors) == len(self.boxes)

    def difference(self, other: RawFaces) -> float:
        """See `RawFaces`.

        Rounding may let other anchors through where scores are nearly equal. So scores are compared by rank,
        and all numbers where an anchor is in both: of stride 32 that is every anchor. Scores are compared as
        log-odds, since those of pictures without faces are all nearly 0.
        """
        if not isinstance(other, BestAnchors) or (self.landmarks is None) != (other.landmarks is None):
            return float("inf")
        _, mine, theirs = np.intersect1d(self.anchors, other.anchors, return_indices=True)
        ours, others = _log_odds(self.scores), _log_odds(other.scores)
        pairs = [
            (np.sort(ours), np.sort(others)),
            (ours[mine], others[theirs]),
            (self.boxes[mine], other.boxes[theirs]),
        ]
        if self.landmarks is not None and other.landmarks is not None:
            pairs.append((self.landmarks[mine], other.landmarks[theirs]))
        return _largest(pairs)


def _log_odds(scores: Float32Array) -> Float32Array:
    """What a sigmoid made these scores of, within -13.8 and 13.8; NaN for what is no score."""
    inside = np.clip(scores, 1e-6, 1 - 1e-6)
    odds: Float32Array = np.log(inside / (1 - inside))
    return np.where(scores <= 1, odds, np.float32(np.nan))


def _largest(pairs: Iterable[tuple[Float32Array, Float32Array]]) -> float:
    differences = []
    for a, b in pairs:
        if a.shape != b.shape or not a.size:
            return float("inf")
        with np.errstate(invalid="ignore"):  # inf - inf is NaN, which is no match
            differences.append(np.abs(a - b).max() / max(1.0, float(np.abs(b).max())))
    return float(np.max(differences))
