"""Find the faces of some frames with all pictures have: tiles, the look at half size, uncertain faces."""

import asyncio
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from av.video.reformatter import VideoReformatter

from deployments.deadline import Deadline
from deployments.decoding.decode import cut_tiles
from deployments.decoding.exif import UPRIGHT
from deployments.decoding.raster import Raster
from deployments.detection.batch import BatchItem, infer_batch
from deployments.detection.search import search
from deployments.types import Inferred
from deployments.video.hdr import PQ, as_sdr
from deployments.video.reading import Frame
from models.errors import FaceError
from models.scrfd import Scrfd
from models.types import Canvas, DetectParams, UInt8Array

AT_ONCE: Final = 8
"""Passes over one frame in a batch: bounds the memory of tiles that are stacked."""


def look(scrfd: Scrfd, frames: Sequence[Frame], params: DetectParams) -> list[Inferred]:
    """What is in each frame. All passes of all frames run in shared batches.

    Raises:
        InferenceError: One of them failed.
    """
    return asyncio.run(_look(scrfd, frames, params))


async def _look(scrfd: Scrfd, frames: Sequence[Frame], params: DetectParams) -> list[Inferred]:
    batch = _Batch(scrfd)
    never = Deadline.after(math.inf)
    tiles = [_tiles(frame) if params.detail == "max" else () for frame in frames]
    searches = [
        search(batch.submit, (frame.canvas, *cut), params, never, is_alone=False, at_once=AT_ONCE)
        for frame, cut in zip(frames, tiles, strict=True)
    ]
    answers = []
    for answer in await asyncio.gather(*searches):
        if isinstance(answer, FaceError):
            raise answer
        answers.append(answer)
    return answers


class _Batch:
    """Passes that are asked for in one turn of the event loop, run together."""

    def __init__(self, scrfd: Scrfd) -> None:
        self._scrfd = scrfd
        self._waiting: list[tuple[BatchItem, asyncio.Future[Inferred | FaceError]]] = []

    async def submit(self, item: BatchItem) -> Inferred | FaceError:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._run)
        answer: asyncio.Future[Inferred | FaceError] = loop.create_future()
        self._waiting.append((item, answer))
        return await answer

    def _run(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            answers = infer_batch(self._scrfd, [item for item, _ in waiting])
        except Exception as error:  # raised where the passes are waited for
            for _, future in waiting:
                future.set_exception(error)
            return
        for (_, future), answer in zip(waiting, answers, strict=True):
            future.set_result(answer)


def _tiles(frame: Frame) -> tuple[Canvas, ...]:
    """Those `detail=max` asks for, of the frame at its own size."""
    image, canvas = frame.image, frame.canvas
    (plane,) = VideoReformatter().reformat(image, format="rgb24", threads=1).planes
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(image.height, plane.line_size)
    pixels: UInt8Array = rows[:, : 3 * image.width].reshape(image.height, image.width, 3)
    if image.color_trc == PQ:
        pixels = as_sdr(pixels)
    shown = np.ascontiguousarray(pixels[: canvas.height, : canvas.width])
    return cut_tiles(Raster(shown, canvas.width, canvas.height, UPRIGHT, None), canvas)
