"""One picture's faces by as many passes as its request asks for, each of them a row of somebody's batch."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from deployments.deadline import Deadline
from deployments.detection.batch import BatchItem, HalfCanvas
from deployments.parcels import CanvasParcel
from deployments.types import Inferred, PassFacts
from models.close_ups import HINT_SCORE, half_size, may_hold_close_up
from models.errors import FaceError, InferenceError
from models.merge import Pass, lowest, merge
from models.tiling import tiling
from models.types import Canvas, DetectParams, PassKind

Submit = Callable[[BatchItem], Awaitable[Inferred | FaceError]]
AnyCanvas = Canvas | CanvasParcel


@dataclass(frozen=True, slots=True)
class _Row:
    """A pass to be made."""

    kind: PassKind
    canvas: AnyCanvas  # of `half` the whole one
    confidence: float

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what the detector will see."""
        height, width = self.canvas.pixels.shape[:2]
        return half_size(height, width) if self.kind == "half" else (height, width)


@dataclass(slots=True)
class _Times:
    """What the request waited for, in milliseconds; together never more than it waited."""

    queue: float = 0.0
    blob: float = 0.0
    inference: float = 0.0
    postprocess: float = 0.0
    nms: float = 0.0

    def add(self, answers: Sequence[Inferred], waited_ms: float) -> None:
        """Count passes that ran together: in the session the slowest; the rest of the time is queueing."""
        slowest = max(answers, key=lambda answer: answer.blob_ms + answer.inference_ms)
        left_ms = max(waited_ms - slowest.blob_ms - slowest.inference_ms, 0.0)
        postprocess = min(sum(answer.detections.postprocess_ms for answer in answers), left_ms)
        nms = min(sum(answer.detections.nms_ms for answer in answers), left_ms - postprocess)
        self.blob += slowest.blob_ms
        self.inference += slowest.inference_ms
        self.postprocess += postprocess
        self.nms += nms
        self.queue += left_ms - postprocess - nms


class _Search:
    """The passes of one request."""

    def __init__(self, submit: Submit, params: DetectParams, deadline: Deadline, is_alone: bool) -> None:
        self.times = _Times()
        self._submit = submit
        self._params = params
        self._deadline = deadline
        self._is_alone = is_alone

    async def run(self, rows: Sequence[_Row], at_once: int) -> list[Inferred]:
        """What each pass finds; raises the error of one that fails."""
        found: list[Inferred] = []
        for start in range(0, len(rows), at_once):
            began_s = time.perf_counter()
            items = [self._item(row, began_s) for row in rows[start : start + at_once]]
            answers = await asyncio.gather(*map(self._submit, items))
            for answer in answers:
                if isinstance(answer, FaceError):
                    raise answer
                found.append(answer)
            self.times.add(found[start:], (time.perf_counter() - began_s) * 1e3)
        return found

    def _item(self, row: _Row, arrived_s: float) -> BatchItem:
        canvas = HalfCanvas(row.canvas) if row.kind == "half" else row.canvas
        params = DetectParams(row.confidence, self._params.nms_threshold)
        return BatchItem(canvas, params, self._deadline, arrived_s, self._is_alone)


async def search(
    submit: Submit,
    canvases: Sequence[AnyCanvas],
    params: DetectParams,
    deadline: Deadline,
    *,
    is_alone: bool,
    at_once: int,
) -> Inferred | FaceError:
    """Find the faces of one picture. A pass that fails, or comes too late, fails the request.

    Args:
        submit: Adds one pass to the queue for the session.
        canvases: The whole picture, then its tiles for `detail=max`.
        params: The request's own.
        deadline: Of the request; holds between passes.
        is_alone: See `BatchItem`.
        at_once: Most passes in the queue, at least 1, so that others' pictures run in between.
    """
    whole = canvases[0]
    asked = tiling(whole.width, whole.height) if params.detail == "max" else ()
    if [canvas.tile for canvas in canvases] != [None, *asked]:
        return InferenceError("the decoder sent other parts of the picture than were asked for")
    least = params.floor if params.detail == "fast" else lowest(params.floor)
    first = least if params.detail == "fast" else min(least, HINT_SCORE)
    rows = [_Row("whole", whole, first), *(_Row("tile", tile, least) for tile in canvases[1:])]
    running = _Search(submit, params, deadline, is_alone)
    try:
        answers = await running.run(rows, at_once)
        found = answers[0].detections
        if params.detail != "fast" and may_hold_close_up(found, params.confidence, whole.width, whole.height):
            rows.append(_Row("half", whole, least))
            answers += await running.run(rows[-1:], at_once)
    except FaceError as error:
        return error
    return _answer(rows, answers, params, running.times)


def _answer(
    rows: Sequence[_Row], answers: Sequence[Inferred], params: DetectParams, times: _Times
) -> Inferred:
    """What the request hears of its passes."""
    picture = rows[0].canvas
    passes = [
        Pass(row.kind, row.canvas.tile, answer.detections) for row, answer in zip(rows, answers, strict=True)
    ]
    merged = merge(passes, params, picture.width, picture.height)
    faces = replace(
        merged.detections,
        postprocess_ms=times.postprocess,
        nms_ms=times.nms + merged.detections.nms_ms,
    )
    sure = int((faces.scores >= params.confidence).sum())
    facts = [
        PassFacts(row.kind, row.size[1], row.size[0], answer.inference_ms, added)
        for row, answer, added in zip(rows, answers, merged.added, strict=True)
    ]
    return Inferred(
        faces.part(0, sure),
        model=answers[0].model,
        queue_ms=times.queue,
        blob_ms=times.blob,
        inference_ms=times.inference,
        batch_size=answers[0].batch_size,
        uncertain=None if params.uncertain == "ignore" else faces.part(sure, len(faces.scores)),
        passes=() if params.detail == "fast" else tuple(facts),
    )
