"""Pictures for the stand-in of the detector: red blocks are its faces."""

import io

from PIL import Image

from tests.tiny_scrfd import red_block_picture

SIDE = 640
LEVELS = (255, 180, 140)
"""Confidences of 0.99, 0.88 and 0.61; see `score_of_red`."""


def red_picture(faces: int = 1) -> bytes:
    """A black PNG of 640 x 640 with up to three red blocks, the strongest first."""
    cells = {(2 + 5 * index, 3 + 4 * index): LEVELS[index] for index in range(faces)}
    data = io.BytesIO()
    Image.fromarray(red_block_picture(SIDE, SIDE, cells)).save(data, "PNG")
    return data.getvalue()
