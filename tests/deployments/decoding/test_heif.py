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
def test_tiles_are_no_larger_than_is_accepted_though_the_picture_claims_to_be_small(style: Style) -> None:
    wide = (WIDTH * 9, HEIGHT)
    decode(derived("grid", wide, wide, 9, style), max_pixels=9 * WIDTH * HEIGHT, keep_picture=True)
    with pytest.raises(ImageTooLargeError, match="tiles"):
        decode(derived("grid", wide, SIZE, 9, style), max_pixels=4 * WIDTH * HEIGHT, keep_picture=True)


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


MANY = 21_000


@pytest.mark.parametrize(
    "parts",
    [
        PLAIN.box(b"free", b"") * MANY,
        PLAIN.full(b"iref", bytes(12) * MANY),
        PLAIN.box(b"iprp", PLAIN.full(b"ipma", bytes(4 + 3 * MANY))),
        PLAIN.box(b"iprp", PLAIN.full(b"ipma", bytes(4 + 3)) * MANY),
    ],
    ids=["boxes", "references", "associations", "boxes of associations"],
)
def test_a_file_of_nothing_but_small_parts_is_refused(parts: bytes) -> None:
    with pytest.raises(ImageDecodeError, match="too many parts"):
        decode(AVIF[:32] + PLAIN.full(b"meta", parts), max_pixels=LIMIT, keep_picture=False)


@pytest.mark.parametrize("name", [b"meta", b"iprp", b"iref"])
def test_of_two_boxes_libheif_might_read_the_other(name: bytes) -> None:
    data = derived("grid", SIZE, SIZE)
    at = data.index(name) - 4
    again = data[at : at + int.from_bytes(data[at : at + 4], "big")]
    doubled = data + again if name == b"meta" else AVIF[:32] + PLAIN.full(b"meta", again * 2)
    with pytest.raises(ImageDecodeError, match=f"more than one {name.decode()}"):
        decode(doubled, max_pixels=LIMIT, keep_picture=False)


def test_boxes_in_boxes_without_end_are_no_recursion() -> None:
    nested = b""
    for _ in range(2000):
        nested = PLAIN.full(b"meta", nested)
    with pytest.raises(ImageDecodeError):
        decode(AVIF[:32] + nested, max_pixels=LIMIT, keep_picture=False)
