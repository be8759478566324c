"""Faces followed from frame to frame, so that one the detector misses for a moment stays hidden.

Sure boxes start tracks and continue them, weak ones (below the confidence that was asked for) only continue
them: Zhang et al., "ByteTrack", ECCV 2022. A frame's boxes are final once `hold` later frames are known.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from models.boxes import areas, overlaps
from models.types import Float32Array

HOLD_PER_SIGHTING: Final = 5
"""A track of one frame, often a false one, is held for so many frames; one of more sightings longer."""
SMOOTHING: Final = np.array([1, 2, 3, 2, 1], np.float32)
"""Weights of two frames before, the frame itself, and two after it."""
SPARE: Final = 0.06
"""Share of its size a smoothed box grows on every side: what jitters within that does not show."""
DRIFT: Final = 0.02
"""What it grows more for each frame it is away from the nearest sighting."""
SURE_AFFINITY: Final = 0.1
WEAK_AFFINITY: Final = 0.3
"""Least likeness, see `affinities`, at which a box continues a track."""
MOTION_FRAMES: Final = 5
"""Sightings from which a track's motion is taken."""
FARTHEST: Final = 1.0
"""Distance of centres, in sides of the box, from which boxes that do not overlap are no longer alike."""
MOST_GROWTH: Final = 2.5
"""Ratio of areas up to which that holds."""
NO_BOXES: Final[Float32Array] = np.empty((0, 4), np.float32)


@dataclass(frozen=True, slots=True)
class Sighted:
    """What the detector found in one frame."""

    sure: Float32Array  # (N, 4) source pixels, at or above the confidence
    weak: Float32Array  # (M, 4) below it
    uncertain: Float32Array = field(default_factory=lambda: NO_BOXES)  # (K, 4) below it, to be hidden as well


@dataclass(slots=True)
class Track:
    """One face from its first sighting to its last, within one scene."""

    scene: int  # index of its first frame
    frames: list[int] = field(default_factory=list)  # ascending
    boxes: list[Float32Array] = field(default_factory=list)  # (4,) each
    sightings: int = 0  # also those that were forgotten since
    is_sure: bool = False  # one of them was

    def add(self, frame: int, box: Float32Array, *, is_sure: bool = False) -> None:
        """One more sighting, later or earlier than the others."""
        self.is_sure |= is_sure
        at = bisect_right(self.frames, frame)
        self.frames.insert(at, frame)
        self.boxes.insert(at, box)
        self.sightings += 1

    def forget(self, frame: int) -> None:
        """Drop sightings before `frame` that neither its neighbours nor the motion need."""
        unneeded = min(bisect_right(self.frames, frame) - 1, len(self.frames) - MOTION_FRAMES)
        if unneeded > 0:
            del self.frames[:unneeded], self.boxes[:unneeded]

    def box_at(self, frame: int) -> Float32Array:
        """(4,) where the face is: as found, between its neighbours in time, or moved on from an end."""
        inside = min(max(frame, self.frames[0]), self.frames[-1])
        after = bisect_right(self.frames, inside)
        box = self.boxes[after - 1]
        if after < len(self.frames):
            before = self.frames[after - 1]
            share = np.float32((inside - before) / (self.frames[after] - before))
            box = box + share * (self.boxes[after] - box)
        return (
            box
            if frame == inside
            else box + np.tile(self._motion(at_end=frame > inside) * (frame - inside), 2)
        )

    def cover_at(self, frame: int) -> Float32Array:
        """(4,) what to hide: the mean over neighbouring frames, which does not lag, and all that was found.

        Beyond the ends, where it is gets less sure with each frame, and what is hidden larger.
        """
        first, last = self.frames[0], self.frames[-1]
        place = self.box_at(frame)
        if not first <= frame <= last:
            return _grown(place, SPARE + DRIFT * max(first - frame, frame - last))
        reach = min(frame - first, last - frame, len(SMOOTHING) // 2)
        middle = len(SMOOTHING) // 2
        weights = SMOOTHING[middle - reach : middle + reach + 1]
        around = np.stack([self.box_at(at) for at in range(frame - reach, frame + reach + 1)])
        return _union(_grown(weights @ around / weights.sum(), SPARE), place)

    def _motion(self, *, at_end: bool) -> Float32Array:
        """(2,) pixels a frame of the box's centre, over the sightings nearest to one end."""
        nearest = slice(-MOTION_FRAMES, None) if at_end else slice(MOTION_FRAMES)
        frames, boxes = self.frames[nearest], self.boxes[nearest]
        if len(frames) < 2:
            return np.zeros(2, np.float32)
        return (_centres(boxes[-1]) - _centres(boxes[0])) / np.float32(frames[-1] - frames[0])


@dataclass(slots=True)
class _Pending:
    """A frame whose boxes are not final."""

    scene: int  # index of its first frame
    weak: Float32Array  # (M, 4) those that belong to no track


class Tracker:
    """Boxes to hide in each frame, in order, `hold` frames behind what it is told."""

    def __init__(self, hold: int, every: int = 1) -> None:
        """An empty film.

        Args:
            hold: Frames a face is hidden before it is first found, after it is last found, and in between;
                at least 2, and 2 x `every`.
            every: Which frames are looked at: each, each second, ...
        """
        self._hold = hold
        self._every = every
        self._scene = 0
        self._next = 0  # index of the frame `add` is told next
        self._pending: deque[_Pending] = deque()
        self._tracks: list[Track] = []

    def add(self, sighted: Sighted | None, *, is_cut: bool) -> Float32Array | None:
        """One more frame.

        Args:
            sighted: What was found; None for a frame that was not looked at.
            is_cut: Whether a new scene begins with it: no track goes on across that.

        Returns:
            (N, 4) for the frame `hold` before, every sure and uncertain box of it inside one of them; None
            while there is no such frame.
        """
        frame = self._next
        self._next += 1
        if is_cut:
            self._scene = frame
        weak = NO_BOXES if sighted is None else self._follow(frame, sighted)
        self._pending.append(_Pending(self._scene, weak))
        return self._finish() if len(self._pending) > self._hold else None

    def end(self) -> list[Float32Array]:
        """The boxes of the frames that are left."""
        return [self._finish() for _ in range(len(self._pending))]

    def _follow(self, frame: int, sighted: Sighted) -> Float32Array:
        """Continue and start tracks; returns the weak boxes that belong to none."""
        present = [
            track
            for track in self._tracks
            if track.scene == self._scene and frame - track.frames[-1] <= self._reach(track)
        ]
        boxes = np.concatenate([sighted.sure, sighted.uncertain])
        found = _matches([track.box_at(frame) for track in present], boxes, SURE_AFFINITY)
        for track, box in found.items():
            present[track].add(frame, boxes[box], is_sure=box < len(sighted.sure))
        missed = [track for index, track in enumerate(present) if index not in found]
        weak = _matches([track.box_at(frame) for track in missed], sighted.weak, WEAK_AFFINITY)
        for track, box in weak.items():
            missed[track].add(frame, sighted.weak[box])
        left = np.delete(sighted.weak, list(weak.values()), axis=0)
        for box in set(range(len(boxes))) - set(found.values()):
            self._start(frame, boxes[box], is_sure=box < len(sighted.sure))
        return left

    def _start(self, frame: int, box: Float32Array, *, is_sure: bool) -> None:
        """A new track; one that is sure with what it was before: weak boxes in frames that are not final."""
        track = Track(self._scene)
        track.add(frame, box, is_sure=is_sure)
        self._tracks.append(track)
        if not is_sure:
            return
        for back, pending in enumerate(reversed(self._pending), 1):
            if pending.scene != self._scene:
                break
            earlier = _matches([track.box_at(frame - back)], pending.weak, WEAK_AFFINITY)
            for weak in earlier.values():
                track.add(frame - back, pending.weak[weak])
                pending.weak = np.delete(pending.weak, weak, axis=0)

    def _finish(self) -> Float32Array:
        frame = self._next - len(self._pending)
        scene = self._pending.popleft().scene
        present = [track for track in self._tracks if self._is_present(track, scene, frame)]
        boxes = [track.cover_at(frame) for track in present]
        oldest = frame - self._hold
        self._tracks = [track for track in self._tracks if track.frames[-1] >= oldest]
        for track in self._tracks:
            track.forget(oldest)
        return np.stack(boxes) if boxes else NO_BOXES

    def _is_present(self, track: Track, scene: int, frame: int) -> bool:
        """Whether a face counts as there: between its sightings, or at most a hold away from them."""
        # What was never sure is often no face: it is hidden where it was found, and in between.
        held = self._reach(track) if track.is_sure else self._every - 1
        return track.scene == scene and track.frames[0] - held <= frame <= track.frames[-1] + held

    def _reach(self, track: Track) -> int:
        """Most frames between its sightings."""
        return min(self._hold, HOLD_PER_SIGHTING * self._every * track.sightings)


def _matches(places: Sequence[Float32Array], boxes: Float32Array, least: float) -> dict[int, int]:
    """Which box continues which place: pairs of indices, the most alike first, none below `least`."""
    if not places or not len(boxes):
        return {}
    affinity = affinities(np.stack(places), boxes)
    pairs: dict[int, int] = {}
    for best in np.argsort(-affinity, axis=None, kind="stable"):
        place, box = (int(index) for index in np.unravel_index(best, affinity.shape))
        if affinity[place, box] < least:
            break
        if place not in pairs and box not in pairs.values():
            pairs[place] = box
    return pairs


def affinities(places: Float32Array, boxes: Float32Array) -> Float32Array:
    """(N, M) how alike two boxes are: their IoU, or for small fast faces their nearness, up to 0.5.

    Args:
        places: (N, 4) where tracks should be.
        boxes: (M, 4) what was found.
    """
    _, iou = overlaps(places, boxes)
    areas_a, areas_b = areas(places)[:, None], areas(boxes)[None]
    side = np.sqrt(np.minimum(areas_a, areas_b))
    distance = np.linalg.norm(_centres(places)[:, None] - _centres(boxes)[None], axis=-1)
    is_alike = np.maximum(areas_a, areas_b) <= MOST_GROWTH * np.minimum(areas_a, areas_b)
    nearness = np.where(is_alike, 0.5 * (1 - distance / np.maximum(FARTHEST * side, 1e-6)), 0)
    alike: Float32Array = np.maximum(iou, nearness).astype(np.float32)
    return alike


def _centres(boxes: Float32Array) -> Float32Array:
    centres: Float32Array = ((boxes[..., :2] + boxes[..., 2:]) / 2).astype(np.float32)
    return centres


def _union(a: Float32Array, b: Float32Array) -> Float32Array:
    return np.concatenate([np.minimum(a[:2], b[:2]), np.maximum(a[2:], b[2:])])


def _grown(box: Float32Array, share: float) -> Float32Array:
    spare = np.float32(share) * (box[2:] - box[:2])
    return np.concatenate([box[:2] - spare, box[2:] + spare])
