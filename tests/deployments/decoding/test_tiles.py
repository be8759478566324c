"""The tiles of a picture, put together again, are the upright picture at its own size."""

import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.decoding.decode import decode
from models.tiling import tiling
from models.types import Canvas
from tests.deployments.decoding.pictures import LIMIT, encode, exif_with_orientation, quadrants, stored_for


def together(tiles: tuple[Canvas, ...]) -> NDArray[np.uint8]:
    """The picture that the tiles were cut from; where two overlap they must agree."""
    assert tiles[0].tile is not None
    whole = np.zeros((tiles[0].tile.whole_height, tiles[0].tile.whole_width, 3), np.uint8)
    seen = np.zeros(whole.shape[:2], bool)
    for canvas in tiles:
        assert canvas.tile is not None
        rows = slice(canvas.tile.top, canvas.tile.top + canvas.tile.height)
        columns = slice(canvas.tile.left, canvas.tile.left + canvas.tile.width)
        before = seen[rows, columns]
        assert (whole[rows, columns][before] == canvas.pixels[before]).all()
        whole[rows, columns], seen[rows, columns] = canvas.pixels, True
    assert seen.all()
    return whole


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("keep_picture", [True, False])
def test_tiles_are_of_the_upright_picture(orientation: int, keep_picture: bool) -> None:
    picture = quadrants(1400, 900)
    picture[10:20, 30:80] = 77
    data = encode(stored_for(picture, orientation), "PNG", exif=exif_with_orientation(orientation))
    decoded = decode(data, max_pixels=LIMIT, keep_picture=keep_picture, detail="max")
    assert tuple(canvas.tile for canvas in decoded.tiles) == tiling(1400, 900)
    assert {(canvas.width, canvas.height) for canvas in decoded.tiles} == {(1400, 900)}
    assert (together(decoded.tiles) == picture).all()


def test_a_jpeg_is_decoded_whole_for_its_tiles(astronaut: NDArray[np.uint8]) -> None:
    large = astronaut.repeat(3, axis=0).repeat(3, axis=1)
    data = encode(large, "JPEG", quality=95)
    kept = decode(data, max_pixels=LIMIT, keep_picture=True).picture
    assert kept is not None
    tiles = decode(data, max_pixels=LIMIT, keep_picture=False, detail="max").tiles
    assert (together(tiles) == kept.pixels).all()


@pytest.mark.parametrize("detail", ["fast", "auto"])
def test_only_max_has_tiles(detail: str) -> None:
    data = encode(quadrants(1400, 900), "PNG")
    decoded = decode(data, max_pixels=LIMIT, keep_picture=True, detail=detail)  # type: ignore[arg-type]
    assert decoded.tiles == ()


def test_the_canvas_is_the_same_with_and_without_tiles() -> None:
    data = encode(quadrants(1400, 900), "PNG")
    fast, most = (decode(data, max_pixels=LIMIT, keep_picture=True, detail=d) for d in ("fast", "max"))  # type: ignore[arg-type]
    assert (fast.canvas.pixels == most.canvas.pixels).all()
    assert fast.canvas.det_scale == most.canvas.det_scale


def test_what_is_transparent_is_white_in_tiles() -> None:
    picture = np.full((700, 800, 4), 200, np.uint8)
    picture[:, :, 3] = 255
    picture[:350, :, 3] = 0
    tiles = decode(encode(picture, "PNG"), max_pixels=LIMIT, keep_picture=True, detail="max").tiles
    whole = together(tiles)
    assert (whole[:350] == 255).all()
    assert (whole[350:] == 200).all()


def test_a_picture_over_the_bound_is_reduced_before_it_is_cut() -> None:
    data = encode(quadrants(6000, 3000), "PNG")
    tiles = decode(data, max_pixels=LIMIT, keep_picture=False, detail="max").tiles
    whole = together(tiles)
    height, width = whole.shape[:2]
    assert (width, height) != (6000, 3000)
    assert tuple(whole[height // 4, width // 4]) == (255, 0, 0)
    assert tuple(whole[3 * height // 4, width // 4]) == (0, 0, 255)
    assert {round(canvas.scale_x, 3) for canvas in tiles} == {round(width / 6000, 3)}
