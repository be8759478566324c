"""What hiding six faces takes of one thread: `python -m loadtests.mask_stage --image p1080.jpg`."""

import argparse
from pathlib import Path
from typing import Final, get_args

import cv2
import numpy as np

from deployments.decoding.decode import decode
from deployments.masking.mask import mask
from deployments.types import MaskMethod, MaskParams, Picture

FACES: Final = np.array(
    [
        [100, 100, 260, 300],
        [500, 200, 580, 300],
        [900, 100, 940, 150],
        [1200, 300, 1600, 800],
        [300, 600, 330, 640],
        [700, 500, 790, 610],
    ],
    np.float32,
)
"""Boxes of a 1080p picture, longer sides of 40 to 500 pixels; no detector is asked."""


def main() -> None:
    """Print milliseconds of each method: of the quickest round, which other programs disturbed least."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    picture = decode(arguments.image.read_bytes(), max_pixels=10**8, keep_picture=True).picture
    if picture is None:
        raise SystemExit("the decoder sent no picture")
    for method in get_args(MaskMethod):
        params = MaskParams(method, quality=20)
        times = [
            mask(Picture(picture.pixels.copy(), None), FACES, params).mask_ms for _ in range(arguments.rounds)
        ]
        print(f"{method:10}  {min(times):.3f} ms")


if __name__ == "__main__":
    main()
