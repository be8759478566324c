"""One batch through the detector: requests share the session, never each other's result."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from deployments.deadline import Deadline
from deployments.parcels import CanvasParcel
from deployments.types import Inferred
from models.close_ups import half
from models.errors import FaceError
from models.scrfd import Scrfd
from models.types import Canvas, DetectParams


@dataclass(frozen=True, slots=True)
class HalfCanvas:
    """A canvas that is to be looked at in half its size; made only where the batch is stacked."""

    whole: Canvas | CanvasParcel

    def unpack(self) -> Canvas:
        """See `CanvasParcel.unpack`."""
        return half(self.whole if isinstance(self.whole, Canvas) else self.whole.unpack())


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One pass of a request, waiting for the session."""

    canvas: Canvas | CanvasParcel | HalfCanvas
    params: DetectParams
    deadline: Deadline
    arrived_s: float  # time.perf_counter() when it joined the queue
    is_alone: bool = False  # nothing else waits: it may have every core


def infer_batch(scrfd: Scrfd, items: Sequence[BatchItem]) -> list[Inferred | FaceError]:
    """Run one batch; the answers are in the order of `items`.

    Canvases of one blob shape run together, shapes one after the other. A request whose deadline has passed
    is not computed. One that fails in post-processing leaves its neighbours alone; a failing session fails
    those of its shape.
    """
    answers: dict[int, Inferred | FaceError] = {}
    canvases: dict[int, Canvas] = {}
    shapes: dict[tuple[int, int], list[int]] = {}
    for index, item in enumerate(items):
        try:
            item.deadline.check()
            canvas = canvases[index] = (
                item.canvas if isinstance(item.canvas, Canvas) else item.canvas.unpack()
            )
            shapes.setdefault(scrfd.blob_shape(canvas), []).append(index)
        except FaceError as error:
            answers[index] = error
    for alike in shapes.values():
        chosen = [items[index] for index in alike]
        found = _infer_alike(scrfd, chosen, [canvases[index] for index in alike])
        answers |= zip(alike, found, strict=True)
    return [answers[index] for index in range(len(items))]


def _infer_alike(
    scrfd: Scrfd, items: Sequence[BatchItem], canvases: Sequence[Canvas]
) -> list[Inferred | FaceError]:
    """Run items of one blob shape in one go."""
    started = time.perf_counter()
    blob = scrfd.stack(canvases)
    stacked = time.perf_counter()
    try:
        answered = scrfd.infer(blob, is_alone=all(item.is_alone for item in items))
    except FaceError as error:
        return [error] * len(items)
    inferred = time.perf_counter()
    answers: list[Inferred | FaceError] = []
    for raw, item, canvas in zip(answered, items, canvases, strict=True):
        try:
            found = scrfd.postprocess(raw, canvas, item.params)
        except FaceError as error:
            answers.append(error)
            continue
        answers.append(
            Inferred(
                found,
                model=scrfd.name,
                queue_ms=(started - item.arrived_s) * 1e3,
                blob_ms=(stacked - started) * 1e3,
                inference_ms=(inferred - stacked) * 1e3,
                batch_size=len(items),
            )
        )
    return answers
