"""How long /detect takes to decode a 12-megapixel JPEG, beside OpenCV's full decode.

    python -m loadtests.compare.decode --rounds 15

The picture is made of copies of --image, side by side, so that it is as hard to decode as a photo. Ours may
decode at a reduced size, because the detector looks at 640 pixels; the aim is at most half of OpenCV's time.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from deployments.decoding.decode import decode
from loadtests.compare.baseline import decode_image, letterbox
from loadtests.upload import read_picture

WIDTH, HEIGHT = 4000, 3000
QUALITY = 90
MAX_PIXELS = WIDTH * HEIGHT


def twelve_megapixels(picture: bytes) -> bytes:
    """A JPEG of 4000×3000, tiled with the picture."""
    tile = decode_image(picture)
    height, width = tile.shape[:2]
    tiled = np.tile(tile, (-(-HEIGHT // height), -(-WIDTH // width), 1))[:HEIGHT, :WIDTH]
    return cv2.imencode(".jpg", tiled, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def milliseconds(work: Callable[[], object]) -> float:
    """How long it takes once."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def measure(data: bytes, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each way, in alternating rounds: decoding alone, and with scaling to the canvas."""
    measured: dict[str, list[float]] = {"ours": [], "opencv": [], "ours, canvas": [], "opencv, canvas": []}
    for number in range(rounds + 1):
        decoded = decode(data, max_pixels=MAX_PIXELS, keep_picture=False)
        took = {
            "ours": decoded.decode_ms,
            "opencv": milliseconds(lambda: decode_image(data)),
            "ours, canvas": milliseconds(lambda: decode(data, max_pixels=MAX_PIXELS, keep_picture=False)),
            "opencv, canvas": milliseconds(lambda: letterbox(decode_image(data))),
        }
        if number:  # the first is a warm-up
            for name, value in took.items():
                measured[name].append(value)
    return measured


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    data = twelve_megapixels(read_picture(options.image))
    medians = {name: statistics.median(values) for name, values in measure(data, options.rounds).items()}
    print(f"{WIDTH}×{HEIGHT} JPEG, {len(data) / 2**20:.1f} MiB, medians of {options.rounds} rounds")
    for kind, suffix in (("decode", ""), ("decode and scale to the canvas", ", canvas")):
        ours, theirs = medians[f"ours{suffix}"], medians[f"opencv{suffix}"]
        print(f"{kind}: ours {ours:.1f} ms, OpenCV {theirs:.1f} ms, ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
