import struct

import numpy as np
import pytest

from deployments.decoding.decode import decode
from deployments.errors import ImageDecodeError, ImageTooLargeError
from tests.deployments.decoding.heifs import AVIF, HEIGHT, PLAIN, STYLES, WIDTH, Style, derived
from tests.deployments.decoding.pictures import LIMIT

SIZE = (WIDTH, HEIGHT)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("tiles", [1, 3])
def test_a_grid_is_read_as_the_primary_picture_it_is(tiles: int, style: Style) -> None:
    size = (WIDTH * tiles, HEIGHT)
    whole = decode(derived("grid", size, size, tiles, style), max_pixels=LIMIT, keep_picture=True)
    one = decode(AVIF, max_pixels=LIMIT, keep_picture=True)
    assert (whole.info.width, whole.info.height) == size
    assert whole.picture is not None
    assert one.picture is not None
    assert np.array_equal(whole.picture.pixels, np.tile(one.picture.pixels, (1, tiles, 1)))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("canvas", [SIZE, (16000, 16000)])
def test_an_overlay_is_refused_since_its_canvas_is_of_any_size(canvas: tuple[int, int], style: Style) -> None:
    with pytest.raises(ImageDecodeError, match="over each other"):
        decode(derived("iovl", canvas, SIZE, style=style), max_pixels=LIMIT, keep_picture=True)


@pytest.mark.parametrize("style", STYLES)
def test_more_tiles_than_any_cameras_are_refused(style: Style) -> None:
    with pytest.raises(ImageDecodeError, match="tiles"):
        decode(derived("grid", SIZE, SIZE, 2000, style), max_pixels=LIMIT, keep_picture=True)


@pytest.mark.parametrize("style", STYLES)
def test_a_side_that_libvips_cannot_count_is_too_large(
    style: Style, capfd: pytest.CaptureFixture[str]
) -> None:
    for claimed in ((2**31 - 1, HEIGHT), (WIDTH, 1_000_001)):
        with pytest.raises(ImageTooLargeError):
            decode(derived("grid", SIZE, claimed, style=style), max_pixels=LIMIT, keep_picture=True)
    assert capfd.readouterr().err == ""


def test_a_picture_beside_the_primary_one_may_not_be_larger_than_is_accepted() -> None:
    data = derived("grid", SIZE, SIZE)
    other = PLAIN.full(b"ispe", struct.pack(">II", WIDTH, HEIGHT))
    assert data.count(other) == 2
    larger = PLAIN.full(b"ispe", struct.pack(">II", WIDTH, HEIGHT + 1))
    with pytest.raises(ImageTooLargeError):
        decode(data.replace(other, larger, 1), max_pixels=WIDTH * HEIGHT, keep_picture=True)
    decode(data, max_pixels=WIDTH * HEIGHT, keep_picture=True)


@pytest.mark.parametrize("letters", [b"dimg", b"ispe\0\0\0\0", b"infe\2\0\0\0\0\0\0\0iovl"])
def test_letters_among_the_pixels_are_no_box(letters: bytes) -> None:
    among = PLAIN.box(b"mdat", b"\xff" * 8 + letters + b"\xff" * 8)
    assert decode(AVIF + among, max_pixels=LIMIT, keep_picture=False).info.width == WIDTH


def test_what_follows_the_last_box_is_not_looked_at() -> None:
    trailer = struct.pack(">I", 5) + b"SEFT" + bytes(24)
    assert decode(AVIF + trailer, max_pixels=LIMIT, keep_picture=False).info.width == WIDTH


@pytest.mark.parametrize("piece", [PLAIN.box(b"free", b""), PLAIN.full(b"iref", bytes(14) * 21_000)])
def test_a_file_of_nothing_but_small_parts_is_refused(piece: bytes) -> None:
    parts = AVIF[:32] + PLAIN.full(b"meta", piece * (21_000 if len(piece) == 8 else 1))
    with pytest.raises(ImageDecodeError, match="too many parts"):
        decode(parts, max_pixels=LIMIT, keep_picture=False)


def test_boxes_in_boxes_without_end_are_no_recursion() -> None:
    nested = b""
    for _ in range(2000):
        nested = PLAIN.full(b"meta", nested)
    with pytest.raises(ImageDecodeError):
        decode(AVIF[:32] + nested, max_pixels=LIMIT, keep_picture=False)
