"""The detector over a film: its frames in batches, each split over the detector's workers."""

import math
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from deployments.video.cuts import Cuts
from deployments.video.reading import Damage, Frame, Item, Sound
from deployments.video.tracks import Sighted
from models.scrfd import Scrfd
from models.types import Canvas, Detections, DetectParams

BATCH: Final = 16
"""Frames that go to the detector together: a batch of a GPU, a share for each thread of CPUs."""
WEAK_SHARE: Final = 0.4
"""Share of the confidence from which a box continues a face that was found: 0.2 of 0.5."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A frame, and what was found in it."""

    frame: Frame
    sighted: Sighted | None  # None: not looked at
    is_cut: bool  # a new scene begins with it


class Finder:
    """Looks at frames of one film."""

    def __init__(self, scrfd: Scrfd, params: DetectParams, every: int) -> None:
        """Look for nothing yet.

        Args:
            scrfd: The detector.
            params: What counts as found.
            every: Which frames are looked at: each, each second, ...; the first of a scene always is.
        """
        self._scrfd = scrfd
        self._params = params
        self._every = every
        self._weaker = replace(params, confidence=max(0.01, WEAK_SHARE * params.confidence), max_faces=0)

    def find(self, items: Iterator[Item]) -> Generator[Looked | Sound | Damage]:
        """Items in their order, frames with what was found in them.

        Raises:
            InferenceError: The detector failed: no frame passes as if it had been looked at.
        """
        with ThreadPoolExecutor(self._scrfd.workers) as workers:
            for batch in self._batches(items):
                frames = [item for item in batch if isinstance(item, _Seen) and item.is_chosen]
                found = iter(self._detect([seen.frame.canvas for seen in frames], workers))
                for item in batch:
                    if isinstance(item, _Seen):
                        yield Looked(item.frame, next(found) if item.is_chosen else None, item.is_cut)
                    else:
                        yield item

    def _batches(self, items: Iterator[Item]) -> Iterator[list["_Seen | Sound | Damage"]]:
        """Items with up to BATCH frames to look at in each part."""
        cuts, index, chosen = Cuts(), 0, 0
        batch: list[_Seen | Sound | Damage] = []
        for item in items:
            if isinstance(item, Frame):
                is_cut = cuts.is_cut(item.canvas)
                is_chosen = is_cut or index % self._every == 0
                batch.append(_Seen(item, is_cut, is_chosen))
                index += 1
                chosen += is_chosen
            else:
                batch.append(item)
            if chosen == BATCH or len(batch) == 2 * BATCH:
                yield batch
                batch, chosen = [], 0
        yield batch

    def _detect(self, canvases: Sequence[Canvas], workers: Executor) -> list[Sighted]:
        """What is in each, shares of them in each worker at once."""
        share = math.ceil(len(canvases) / self._scrfd.workers) or 1
        shares = [canvases[at : at + share] for at in range(0, len(canvases), share)]
        return [sighted for part in workers.map(self._detect_share, shares) for sighted in part]

    def _detect_share(self, canvases: Sequence[Canvas]) -> list[Sighted]:
        raw = self._scrfd.infer(self._scrfd.stack(canvases), is_alone=False)
        found = [self._scrfd.postprocess(r, c, self._weaker) for r, c in zip(raw, canvases, strict=True)]
        return [self._sorted_out(detections) for detections in found]

    def _sorted_out(self, found: Detections) -> Sighted:
        """Scores fall, so the sure ones come first."""
        sure = int((found.scores >= self._params.confidence).sum())
        return Sighted(found.boxes[:sure][: self._params.max_faces or None], found.boxes[sure:])


@dataclass(frozen=True, slots=True)
class _Seen:
    frame: Frame
    is_cut: bool
    is_chosen: bool
