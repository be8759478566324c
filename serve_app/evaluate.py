"""What a detector is worth on a labelled set: through the same decoding and detection as the service."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import track

from deployments.deadline import Deadline
from deployments.decoding.decode import decode
from deployments.detection.batch import BatchItem, infer_batch
from deployments.detection.search import search
from deployments.types import Inferred
from models.close_ups import half
from models.errors import FaceError
from models.evaluation import Predictions, average_precision, load_dataset
from models.scrfd import Scrfd
from models.types import Canvas, Detail, Detections, DetectParams

TIMEOUT_S: Final = 300.0
EVALUATION: Final = DetectParams(confidence=0.02, nms_threshold=0.4)  # as SCRFD is evaluated by its authors


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Accuracy and speed on one set."""

    ap: dict[str, float]  # level -> 0..1
    pictures: int
    pictures_per_s: float  # decoding included, the sessions' preparations not


def evaluate_detector(scrfd: Scrfd, dataset: Path, max_pixels: int, detail: Detail = "fast") -> Evaluation:
    """WIDER FACE AP by the official protocol.

    Args:
        scrfd: The detector.
        dataset: Folder with images/ and ground_truth.json.
        max_pixels: Larger pictures are refused, as in the service.
        detail: How closely to look.
    """
    params = replace(EVALUATION, detail=detail)
    images, predictions, busy_s = load_dataset(dataset), [], 0.0
    for image in track(images, scrfd.name, console=Console(stderr=True), transient=True):
        data = (dataset / "images" / image.file).read_bytes()
        started = time.perf_counter()
        decoded = decode(data, max_pixels=max_pixels, keep_picture=False, detail=detail)
        busy_s += time.perf_counter() - started
        canvases = (decoded.canvas, *decoded.tiles)
        for canvas in canvases if detail == "fast" else (*canvases, half(decoded.canvas)):
            scrfd.make_ready(canvas)  # once for each shape: no part of the rate
        started = time.perf_counter()
        found = find(scrfd, canvases, params)
        busy_s += time.perf_counter() - started
        predictions.append(Predictions(found.boxes, found.scores))
    return Evaluation(average_precision(images, predictions), len(images), len(images) / busy_s)


def find(scrfd: Scrfd, canvases: Sequence[Canvas], params: DetectParams) -> Detections:
    """The faces of one picture by all its passes, in this thread.

    Args:
        scrfd: The detector.
        canvases: The whole picture, then its tiles for `detail=max`.
        params: How closely to look, and the thresholds.
    """
    if params.is_plain:
        return scrfd.detect(canvases[0], params)

    async def submit(item: BatchItem) -> Inferred | FaceError:
        return infer_batch(scrfd, [item])[0]

    deadline = Deadline.after(TIMEOUT_S)
    found = asyncio.run(search(submit, canvases, params, deadline, is_alone=True, at_once=1))
    if isinstance(found, FaceError):
        raise found
    return found.detections
