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

    Canvases of one blob shape run together, shapes one after the other. A request whose deadline has passed
    is not computed. One that fails in post-processing leaves its neighbours alone; a failing session fails
    those of its shape.
    """
    answers: dict[int, Inferred | FaceError] = {}
    shapes: dict[tuple[int, int], list[int]] = {}
    for index, item in enumerate(items):
        try:
            item.deadline.check()
            shapes.setdefault(scrfd.blob_shape(item.canvas), []).append(index)
        except FaceError as error:
            answers[index] = error
    for alike in shapes.values():
        answers |= zip(alike, _infer_alike(scrfd, [items[index] for index in alike]), strict=True)
    return [answers[index] for index in range(len(items))]


def _infer_alike(scrfd: Scrfd, items: Sequence[BatchItem]) -> list[Inferred | FaceError]:
    """Run items of one blob shape in one go."""
    started = time.perf_counter()
    blob = scrfd.stack([item.canvas for item in items])
    stacked = time.perf_counter()
    try:
        raw = scrfd.infer(blob)
    except FaceError as error:
        return [error] * len(items)
    inferred = time.perf_counter()
    answers: list[Inferred | FaceError] = []
    for row, item in enumerate(items):
        try:
            found = scrfd.postprocess(raw, row, item.canvas, item.params)
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
