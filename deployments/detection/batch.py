"""One batch through the detector: requests share the session, never each other's result."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from deployments.deadline import Deadline
from deployments.types import Inferred
from models.errors import FaceError
from models.scrfd import Scrfd
from models.types import Canvas, DetectParams


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One request waiting for the session."""

    canvas: Canvas
    params: DetectParams
    deadline: Deadline
    arrived_s: float  # time.perf_counter() when it joined the queue


def infer_batch(scrfd: Scrfd, items: Sequence[BatchItem]) -> list[Inferred | FaceError]:
    """Run one batch; the answers are in the order of `items`.

    A request whose deadline has passed is not computed. One that fails in post-processing leaves its
    neighbours alone; only a failing session fails them all.
    """
    answers: list[Inferred | FaceError | None] = [None] * len(items)
    alive: list[int] = []
    for index, item in enumerate(items):
        try:
            item.deadline.check()
            alive.append(index)
        except FaceError as error:
            answers[index] = error
    if alive:
        started = time.perf_counter()
        blob = scrfd.stack([items[index].canvas for index in alive])
        stacked = time.perf_counter()
        raw = scrfd.infer(blob)
        inferred = time.perf_counter()
        for row, index in enumerate(alive):
            item = items[index]
            try:
                answers[index] = Inferred(
                    scrfd.postprocess(raw, row, item.canvas, item.params),
                    model=scrfd.name,
                    queue_ms=(started - item.arrived_s) * 1e3,
                    blob_ms=(stacked - started) * 1e3,
                    inference_ms=(inferred - stacked) * 1e3,
                    batch_size=len(alive),
                )
            except FaceError as error:
                answers[index] = error
    return [answer for answer in answers if answer is not None]
