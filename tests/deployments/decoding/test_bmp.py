import struct

import numpy as np
import pytest
from PIL import Image

from deployments.decoding.bmp import decode_bmp
from deployments.errors import ImageDecodeError, ImageTooLargeError
from tests.deployments.decoding.pictures import LIMIT, encode, quadrants

COLOUR = encode(quadrants(), "BMP")


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA"])
def test_bitmaps_come_out_as_rgb(mode: str) -> None:
    data = encode(Image.fromarray(quadrants()).convert(mode), "BMP")
    raster = decode_bmp(data, LIMIT)
    assert np.array_equal(raster.pixels, quadrants())
    assert (raster.width, raster.height, raster.orientation) == (48, 32, 1)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_bitmaps_have_three_equal_channels(mode: str) -> None:
    picture = Image.fromarray(np.eye(40, dtype=np.uint8) * 255).convert(mode)
    assert np.array_equal(
        decode_bmp(encode(picture, "BMP"), LIMIT).pixels[:, :, 1], np.array(picture.convert("L"))
    )


def test_a_negative_height_stores_rows_top_down() -> None:
    data = bytearray(COLOUR)
    struct.pack_into("<i", data, 22, -32)
    assert np.array_equal(decode_bmp(bytes(data), LIMIT).pixels, np.flipud(quadrants()))


def test_truncation_is_a_decode_error() -> None:
    for length in (14, 18, 30, 54, len(COLOUR) // 2, len(COLOUR) - 1):
        with pytest.raises(ImageDecodeError):
            decode_bmp(COLOUR[:length], LIMIT)


@pytest.mark.parametrize(
    ("offset", "layout", "value"),
    [
        (18, "<i", 0),
        (18, "<i", -48),
        (22, "<i", 0),
        (22, "<i", -(2**31)),
        (26, "<H", 2),
        (28, "<H", 7),
        (30, "<I", 4),
        (30, "<I", 1),
    ],
)
def test_impossible_headers_are_refused(offset: int, layout: str, value: int) -> None:
    data = bytearray(COLOUR)
    struct.pack_into(layout, data, offset, value)
    with pytest.raises((ImageDecodeError, ImageTooLargeError)):
        decode_bmp(bytes(data), LIMIT)


def test_the_limit_is_judged_from_the_header() -> None:
    data = bytearray(COLOUR[:54])
    struct.pack_into("<ii", data, 18, 60_000, 60_000)
    with pytest.raises(ImageTooLargeError, match="60000 x 60000"):
        decode_bmp(bytes(data), LIMIT)
