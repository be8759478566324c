import itertools

import numpy as np
import pytest

from models.tiling import FACE_OF_WHOLE, LEAST_OVERLAP, MOST_TILES, TILED_PIXELS, most_tiled_pixels, tiling
from models.types import INPUT_SIZE, Tile

SIZES = [
    (641, 641),
    (1024, 683),
    (683, 1024),
    (1920, 1080),
    (3840, 2160),
    (8660, 5773),
    (50_000, 1000),
    (9000, 40),
]


@pytest.mark.parametrize("size", [(1, 1), (640, 640), (640, 1)])
def test_what_fits_the_input_at_its_own_size_has_no_tiles(size: tuple[int, int]) -> None:
    assert tiling(*size) == ()


@pytest.mark.parametrize("size", SIZES)
def test_every_pixel_is_in_a_tile_and_every_tile_fits_the_input(size: tuple[int, int]) -> None:
    tiles = tiling(*size)
    whole = tiles[0].whole_width, tiles[0].whole_height
    columns, rows = np.zeros(whole[0], bool), np.zeros(whole[1], bool)
    for tile in tiles:
        assert max(tile.width, tile.height) <= INPUT_SIZE
        assert INPUT_SIZE in {tile.width, tile.height}
        assert (tile.whole_width, tile.whole_height) == whole
        columns[tile.left : tile.left + tile.width] = True
        rows[tile.top : tile.top + tile.height] = True
    assert columns.all()
    assert rows.all()
    assert len(tiles) == len({t.left for t in tiles}) * len({t.top for t in tiles}) <= MOST_TILES
    assert sum(t.width * t.height for t in tiles) <= most_tiled_pixels(size[0] * size[1])


@pytest.mark.parametrize("size", [(1024, 683), (1920, 1080), (3840, 2160)])
def test_up_to_4k_a_picture_is_cut_at_its_own_size(size: tuple[int, int]) -> None:
    assert {(tile.whole_width, tile.whole_height) for tile in tiling(*size)} == {size}


def test_larger_pictures_are_reduced_first() -> None:
    tile = tiling(8660, 5773)[0]
    assert tile.whole_width * tile.whole_height <= TILED_PIXELS * 1.001
    assert tile.whole_width / tile.whole_height == pytest.approx(1.5, abs=0.001)


@pytest.mark.parametrize("size", [(1024, 683), (1920, 1080), (3840, 2160)])
def test_neighbours_share_what_a_face_needs_that_the_whole_picture_shows_too_small(
    size: tuple[int, int],
) -> None:
    tiles = tiling(*size)
    needed = max(LEAST_OVERLAP, FACE_OF_WHOLE * max(size) // INPUT_SIZE)
    for starts, side in (
        (sorted({t.left for t in tiles}), tiles[0].width),
        (sorted({t.top for t in tiles}), tiles[0].height),
    ):
        assert all(first + side - second >= needed for first, second in itertools.pairwise(starts))


def test_a_picture_a_little_wider_than_the_input_is_cut_in_two() -> None:
    assert tiling(1000, 400) == (Tile(0, 0, 640, 400, 1000, 400), Tile(360, 0, 640, 400, 1000, 400))
