"""Pictures to send: made from a seed, so that every machine sends the same; or a folder of the user's.

A picture is a background, smooth with a grain like a photo's, and scikit-image's astronaut's head (public
domain) pasted in several sizes. Nobody else's picture is needed, and none is in this repository.
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from models.types import UInt8Array

QUALITY = 90
HEAD = (slice(30, 175), slice(150, 295))
"""Rows and columns of the face with some hair, in the astronaut's picture: 145×145."""
FILL = (0.9, 0.95, 1.0)
"""Sizes of heads as shares of their cell, taken in turn."""
CONTENT_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".heic": "image/heic",
    ".avif": "image/avif",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """One upload."""

    name: str
    data: bytes
    content_type: str


def make_picture(megapixels: float, faces: int, seed: int = 0) -> Picture:
    """A JPEG of about so many megapixels with so many heads.

    Args:
        megapixels: 16:9; a square for more than 100 faces, since they are most readily found there.
        faces: Heads in a grid, in three sizes; a lone one has two fifths of the height.
        seed: Another one gives another background and other places.
    """
    aspect = 1.0 if faces > 100 else 16 / 9
    height = 8 * round(math.sqrt(megapixels * 1e6 / aspect) / 8)
    width = 8 * round(height * aspect / 8)
    pixels = _background(width, height, np.random.default_rng([seed, width, height]))
    _paste_heads(pixels, faces, np.random.default_rng([seed, width, height, faces]))
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    return Picture(f"{megapixels:g} MP, {faces} faces", data, "image/jpeg")


def read_folder(folder: Path) -> list[Picture]:
    """The user's own pictures, by name; SystemExit when there is none."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in CONTENT_TYPES)
    if not files:
        raise SystemExit(f"no picture in {folder}; wanted are files that end in {', '.join(CONTENT_TYPES)}")
    return [Picture(path.name, path.read_bytes(), CONTENT_TYPES[path.suffix.lower()]) for path in files]


def _background(width: int, height: int, random: np.random.Generator) -> UInt8Array:
    """(height, width, 3) BGR: soft patches of colour with grain, about as hard to decode as a photo."""
    pixels = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((4, 90), (24, 36), (160, 22)):
        rough = random.normal(0.0, strength, (cells, cells, 3)).astype(np.float32)
        pixels += cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
    grain = random.normal(0.0, 5.0, (height, width, 1)).astype(np.float32)
    clipped: UInt8Array = np.clip(pixels + grain + 120.0, 0, 255).astype(np.uint8)
    return clipped


def _paste_heads(pixels: UInt8Array, faces: int, random: np.random.Generator) -> None:
    """Paste so many heads into (H, W, 3) BGR pixels, one to a cell of a grid."""
    if not faces:
        return
    height, width = pixels.shape[:2]
    rows = 1 if faces == 1 else max(2, round(math.sqrt(faces * height / width)))
    columns = math.ceil(faces / rows)
    cell = min(height // rows, width // columns)
    for number in range(faces):
        row, column = divmod(number, columns)
        share = 0.4 if faces == 1 else FILL[number % len(FILL)]
        size = round(cell * share)
        y = row * height // rows + int(random.integers(0, height // rows - size + 1))
        x = column * width // columns + int(random.integers(0, width // columns - size + 1))
        pixels[y : y + size, x : x + size] = head(size)


@cache
def _astronaut_pixels() -> UInt8Array:
    """(512, 512, 3) BGR."""
    try:
        from skimage import data  # noqa: PLC0415 - a development dependency
    except ImportError:
        raise SystemExit(
            "scikit-image is missing, whose picture has the face; `make load` installs it"
        ) from None
    pixels = data.astronaut()  # type: ignore[no-untyped-call] # scikit-image has no types for it
    return np.ascontiguousarray(pixels[..., ::-1])


def astronaut() -> bytes:
    """The whole picture as a JPEG."""
    return cv2.imencode(".jpg", _astronaut_pixels())[1].tobytes()


@cache
def head(size: int) -> UInt8Array:
    """The head as (size, size, 3) BGR."""
    interpolation = cv2.INTER_AREA if size < 145 else cv2.INTER_CUBIC
    resized = cv2.resize(_astronaut_pixels()[HEAD], (size, size), interpolation=interpolation)
    return resized.astype(np.uint8)
