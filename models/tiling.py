"""How a picture is cut into tiles of the detector's input, so that it is seen at its own size."""

import math
from functools import lru_cache
from typing import Final

from models.types import INPUT_SIZE, Tile

TILED_PIXELS: Final = 3840 * 2160
"""Larger pictures are reduced to so many pixels before they are cut: 4K is seen at its own size."""
MOST_TILES: Final = 40
"""Bounds what one picture may take of the Detector. 4K has so many; only long strips would have more, and are
reduced further."""
FACE_OF_WHOLE: Final = 24
"""Neighbours share so much that each face up to this size, in pixels of the whole picture's canvas, is seen
uncut by one of them. Larger ones are found in the whole picture."""
LEAST_OVERLAP: Final = 64
MOST_OVERLAP: Final = 256
STEP: Final = 64
"""Sides are multiples of it, which sessions that run rectangles take without padding."""


@lru_cache(maxsize=256)
def tiling(width: int, height: int) -> tuple[Tile, ...]:
    """The tiles of a picture; none when it fits the detector's input at its own size.

    Every pixel is in one of them. One of a tile's sides is the input's or the picture's, so that they come
    in few shapes.

    Args:
        width: Of the upright picture, pixels.
        height: Of the upright picture, pixels.
    """
    scale = min(1.0, math.sqrt(TILED_PIXELS / (width * height)))
    while True:
        tiles = _cut(max(1, round(width * scale)), max(1, round(height * scale)))
        if len(tiles) <= MOST_TILES:
            return tiles
        scale *= 0.95


def most_tiled_pixels(pixels: int) -> int:
    """The most that the tiles of a picture of so many pixels hold together."""
    return min(3 * pixels, MOST_TILES * INPUT_SIZE**2)


def _cut(width: int, height: int) -> tuple[Tile, ...]:
    """Tiles of a scaled picture."""
    if max(width, height) <= INPUT_SIZE:
        return ()
    shared = FACE_OF_WHOLE * max(width, height) // INPUT_SIZE
    overlap = min(max(shared, LEAST_OVERLAP), MOST_OVERLAP)
    columns, rows = (_count(size, overlap) for size in (width, height))
    tile_width, tile_height = _side(width, columns, overlap), _side(height, rows, overlap)
    if tile_width >= tile_height:
        tile_width = min(INPUT_SIZE, width)
    else:
        tile_height = min(INPUT_SIZE, height)
    return tuple(
        Tile(left, top, tile_width, tile_height, width, height)
        for top in _starts(height, rows, tile_height)
        for left in _starts(width, columns, tile_width)
    )


def _count(size: int, overlap: int) -> int:
    """How many tiles a side takes."""
    return 1 if size <= INPUT_SIZE else math.ceil((size - overlap) / (INPUT_SIZE - overlap))


def _side(size: int, count: int, overlap: int) -> int:
    """The shortest side with which so many tiles do."""
    needed = math.ceil((size + (count - 1) * overlap) / count)
    return min(math.ceil(needed / STEP) * STEP, INPUT_SIZE, size)


def _starts(size: int, count: int, side: int) -> list[int]:
    """Where tiles begin, evenly spread from one end to the other."""
    return [(size - side) * index // max(count - 1, 1) for index in range(count)]
