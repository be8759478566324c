import numpy as np
import pytest

from deployments.decoding.decode import decode
from deployments.errors import ImageDecodeError, ImageTooLargeError
from tests.deployments.decoding.heifs import AVIF, HEIGHT, WIDTH, derived
from tests.deployments.decoding.pictures import LIMIT

SIZE = (WIDTH, HEIGHT)


@pytest.mark.parametrize("tiles", [1, 3])
def test_a_grid_is_read_as_the_primary_picture_it_is(tiles: int) -> None:
    size = (WIDTH * tiles, HEIGHT)
    whole = decode(derived("grid", size, size, tiles), max_pixels=LIMIT, keep_picture=True)
    one = decode(AVIF, max_pixels=LIMIT, keep_picture=True)
    assert (whole.info.width, whole.info.height) == size
    assert whole.picture is not None
    assert one.picture is not None
    assert np.array_equal(whole.picture.pixels, np.tile(one.picture.pixels, (1, tiles, 1)))


@pytest.mark.parametrize("canvas", [SIZE, (16000, 16000)])
def test_an_overlay_is_refused_since_its_canvas_is_of_any_size(canvas: tuple[int, int]) -> None:
    with pytest.raises(ImageDecodeError, match="over each other"):
        decode(derived("iovl", canvas, SIZE), max_pixels=LIMIT, keep_picture=True)


def test_more_tiles_than_any_cameras_are_refused() -> None:
    with pytest.raises(ImageDecodeError, match="tiles"):
        decode(derived("grid", SIZE, SIZE, 2000), max_pixels=LIMIT, keep_picture=True)


def test_a_side_that_libvips_cannot_count_is_too_large(capfd: pytest.CaptureFixture[str]) -> None:
    for claimed in ((2**31 - 1, HEIGHT), (WIDTH, 1_000_001)):
        with pytest.raises(ImageTooLargeError):
            decode(derived("grid", SIZE, claimed), max_pixels=LIMIT, keep_picture=True)
    assert capfd.readouterr().err == ""
