"""What a detector is worth on a labelled set: through the same decoding and detection as the service."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import track

from deployments.decoding.decode import decode
from models.evaluation import Predictions, average_precision, load_dataset
from models.scrfd import Scrfd
from models.types import DetectParams

EVALUATION: Final = DetectParams(confidence=0.02, nms_threshold=0.4)  # as SCRFD is evaluated by its authors


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Accuracy and speed on one set."""

    ap: dict[str, float]  # level -> 0..1
    pictures: int
    pictures_per_s: float  # decoding included, the sessions' preparations not


def evaluate_detector(scrfd: Scrfd, dataset: Path, max_pixels: int) -> Evaluation:
    """WIDER FACE AP by the official protocol.

    Args:
        scrfd: The detector.
        dataset: Folder with images/ and ground_truth.json.
        max_pixels: Larger pictures are refused, as in the service.
    """
    images, predictions, busy_s = load_dataset(dataset), [], 0.0
    for image in track(images, scrfd.name, console=Console(stderr=True), transient=True):
        data = (dataset / "images" / image.file).read_bytes()
        started = time.perf_counter()
        decoded = decode(data, max_pixels=max_pixels, keep_picture=False)
        busy_s += time.perf_counter() - started
        scrfd.make_ready(decoded.canvas)  # once for each shape: no part of the rate
        started = time.perf_counter()
        found = scrfd.detect(decoded.canvas, EVALUATION)
        busy_s += time.perf_counter() - started
        predictions.append(Predictions(found.boxes, found.scores))
    return Evaluation(average_precision(images, predictions), len(images), len(images) / busy_s)
