"""What a lossless mask costs beside decoding, masking and encoding the whole picture; no server needed.

    python -m loadtests.lossless --image photo.jpg --rounds 25

Rounds alternate between the two. Masks are one face in the middle of the picture, or several side by side,
which with their padding cover a share of it. Times are of the processor, of one thread: other programs
disturb them less than they do the clock.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deployments.decoding.decode import decode
from deployments.masking.lossless import mask_lossless
from deployments.masking.mask import mask
from deployments.masking.regions import expand_boxes
from deployments.types import MaskParams, Picture
from loadtests.machine import commit, machine
from models.types import BoolArray, Float32Array, UInt8Array

SHARES = (0.0, 0.01, 0.05, 0.1, 0.25)
MAX_PIXELS = 200_000_000
ORDINARY = MaskParams()
LOSSLESS = MaskParams(lossless=True)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one way to mask a picture, medians over the rounds."""

    time_ms: float
    size_bytes: int
    psnr_db: float  # of what no mask touches, against the input; infinite: nothing changed


def faces_covering(share: float, width: int, height: int) -> Float32Array:
    """Boxes (N, 4), four at most, that cover a share of a picture with the default padding."""
    count = 0 if share == 0 else 1 if share < 0.05 else 4
    boxes = np.zeros((count, 4), np.float32)
    if not count:
        return boxes
    padded = (share / count * width * height) ** 0.5
    side = padded / (1 + 2 * ORDINARY.padding)
    for index, box in enumerate(boxes):
        x, y = width * (index + 1) / (count + 1), height / 2
        box[:] = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    return boxes


def compare(data: bytes, share: float, rounds: int) -> tuple[Cost, Cost]:
    """The ordinary way, and the lossless one."""
    picture = _picture(data)
    height, width = picture.pixels.shape[:2]
    boxes = faces_covering(share, width, height)
    regions = expand_boxes(boxes, ORDINARY.padding, width, height)
    ways: list[Callable[[], bytes]] = [
        lambda: mask(_picture(data), boxes, ORDINARY).data,
        lambda: mask_lossless(data, width, height, boxes, LOSSLESS).data,
    ]
    times: list[list[float]] = [[], []]
    results = [b"", b""]
    for turn in range(rounds + 1):
        for index, way in enumerate(ways):
            started = time.thread_time()
            results[index] = way()
            if turn:  # the first warms up
                times[index].append((time.thread_time() - started) * 1e3)
    untouched = np.ones((height, width), bool)
    for x1, y1, x2, y2 in regions - np.array([16, 16, -16, -16]):  # the blocks at the edge of a mask as well
        untouched[max(0, y1) : y2, max(0, x1) : x2] = False
    ordinary, lossless = (
        Cost(statistics.median(t), len(r), _psnr(picture.pixels, _picture(r).pixels, untouched))
        for t, r in zip(times, results, strict=True)
    )
    return ordinary, lossless


def _picture(data: bytes) -> Picture:
    picture = decode(data, max_pixels=MAX_PIXELS, keep_picture=True).picture
    if picture is None:
        raise AssertionError("it was asked for")
    return picture


def _psnr(before: UInt8Array, after: UInt8Array, where: BoolArray) -> float:
    error = float(np.mean((before[where].astype(np.float32) - after[where]) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")


def main() -> None:
    """Print a table for each picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--image", type=Path, nargs="+", required=True, help="JPEGs")
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"{machine()} · commit {commit()} · {arguments.rounds} rounds\n")
    print("| picture | masked | ordinary, ms | lossless, ms | of it | size | lost elsewhere |")
    print("|---|---|---|---|---|---|---|")
    for path in arguments.image:
        data = path.read_bytes()
        for share in SHARES:
            ordinary, lossless = compare(data, share, arguments.rounds)
            sizes = f"{ordinary.size_bytes / len(data):.2f} / {lossless.size_bytes / len(data):.2f}"
            print(
                f"| {path.stem} | {share:.0%} | {ordinary.time_ms:.1f} | {lossless.time_ms:.1f} "
                f"| {lossless.time_ms / ordinary.time_ms:.2f} | {sizes} "
                f"| {ordinary.psnr_db:.1f} / {lossless.psnr_db:.1f} dB |"
            )


if __name__ == "__main__":
    main()
