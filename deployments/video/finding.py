"""The detector over a film: its frames in batches, each split over the detector's workers."""

import math
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from deployments.errors import UncertainFacesError
from deployments.types import Inferred
from deployments.video.cuts import Cuts
from deployments.video.looking import look
from deployments.video.reading import Damage, Frame, Item, Sound
from deployments.video.tracks import Sighted
from models.errors import InferenceError
from models.scrfd import Scrfd
from models.types import DetectParams

BATCH: Final = 8
"""Frames that go to the detector together: a batch of a GPU, a share for each thread of CPUs."""
LEAST_CONFIDENCE: Final = 0.01
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
        weak = max(LEAST_CONFIDENCE, min(WEAK_SHARE * params.confidence, params.floor))
        self._wider = replace(params, max_faces=0, uncertain="report", mask_confidence=weak)

    def find(self, items: Iterator[Item]) -> Generator[Looked | Sound | Damage]:
        """Items in their order, frames with what was found in them.

        Raises:
            InferenceError: The detector failed: no frame passes as if it had been looked at.
            UncertainFacesError: See `DetectParams.uncertain`.
        """
        with ThreadPoolExecutor(self._scrfd.workers) as workers:
            for batch in self._batches(items):
                frames = [item for item in batch if isinstance(item, _Seen) and item.is_chosen]
                found = iter(self._looked_at([seen.frame for seen in frames], workers))
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

    def _looked_at(self, frames: Sequence[Frame], workers: Executor) -> list[Sighted]:
        """What is in each, shares of them in each worker at once."""
        share = math.ceil(len(frames) / self._scrfd.workers) or 1
        shares = [frames[at : at + share] for at in range(0, len(frames), share)]
        answers = workers.map(lambda part: look(self._scrfd, part, self._wider), shares)
        return [self._sorted_out(inferred) for part in answers for inferred in part]

    def _sorted_out(self, inferred: Inferred) -> Sighted:
        """Sure faces, uncertain ones where they are to be hidden as well, and weak ones.

        Raises:
            UncertainFacesError: There are uncertain ones, and such films are not wanted.
        """
        params, found, uncertain = self._params, inferred.detections, inferred.uncertain
        if uncertain is None:
            raise InferenceError("the detector did not look for uncertain faces")
        count = int((uncertain.scores >= params.floor).sum())
        if params.uncertain == "reject" and count:
            raise UncertainFacesError(
                f"a frame has {count} possible faces between confidence {params.floor:g} and "
                f"{params.confidence:g}, and uncertain is reject; mask hides them, too"
            )
        hidden = count if params.uncertain == "mask" else 0
        return Sighted(
            found.boxes[: params.max_faces or None], uncertain.boxes[hidden:], uncertain.boxes[:hidden]
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    frame: Frame
    is_cut: bool
    is_chosen: bool
