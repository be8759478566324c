import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deployments.decoding.exif import (
    known_orientation,
    orientation_exif,
    read_orientation,
    stored_regions,
    swaps_sides,
    turned_back,
    upright,
    upright_regions,
)
from tests.deployments.decoding.pictures import exif_with_orientation, quadrants, stored_for

BIG_ENDIAN_6 = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
LITTLE_ENDIAN_6 = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_is_read_as_written(value: int) -> None:
    assert read_orientation(exif_with_orientation(value)) == value


@pytest.mark.parametrize("exif", [BIG_ENDIAN_6, LITTLE_ENDIAN_6, b"Exif\0\0" + BIG_ENDIAN_6])
def test_both_byte_orders_with_and_without_prefix(exif: bytes) -> None:
    assert read_orientation(exif) == 6


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"XX*\0" + BIG_ENDIAN_6[4:],
        BIG_ENDIAN_6[:12],  # cut inside the entry
        BIG_ENDIAN_6.replace(b"\x01\x12\0\x03", b"\x01\x12\0\x02"),  # of type ASCII
        BIG_ENDIAN_6.replace(b"\0\0\0\x01\0\x06", b"\0\0\0\x02\0\x06"),  # two values
        BIG_ENDIAN_6.replace(b"\0\x06", b"\0\x00"),
        BIG_ENDIAN_6.replace(b"\0\x06", b"\0\x09"),
        BIG_ENDIAN_6.replace(b"\0\x06", b"\xff\xff"),
        b"MM\0*\xff\xff\xff\xff",  # the directory lies outside
        b"MM\0*\0\0\0\x00" + BIG_ENDIAN_6[8:],  # the directory is the header itself
        b"MM\0*\0\0\0\x08\xff\xff",  # 65535 entries, none there
    ],
)
def test_nonsense_counts_as_upright(exif: bytes) -> None:
    assert read_orientation(exif) == 1


@given(st.sampled_from([b"II*\0", b"MM\0*", b"Exif\0\0II*\0"]), st.binary(max_size=200))
def test_any_bytes_give_an_orientation(start: bytes, rest: bytes) -> None:
    assert 1 <= read_orientation(start + rest) <= 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [3, 4])
def test_upright_undoes_what_the_camera_did(orientation: int, channels: int) -> None:
    expected = np.random.default_rng(0).integers(0, 256, (7, 5, channels), np.uint8)
    stored = stored_for(expected, orientation)
    turned = upright(stored, orientation)
    assert np.array_equal(turned, expected)
    assert turned.flags.c_contiguous
    assert swaps_sides(orientation) == (stored.shape[:2] != expected.shape[:2])


def test_orientation_6_is_a_quarter_turn_clockwise() -> None:
    turned = upright(quadrants(4, 4), 6)
    assert turned[0, 0].tolist() == [0, 0, 255]  # what was at the lower left
    assert turned[0, 3].tolist() == [255, 0, 0]


def test_unknown_orientations_count_as_upright() -> None:
    assert [known_orientation(value) for value in (-1, 0, 1, 8, 9, 65535)] == [1, 1, 1, 8, 1, 1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_regions_turn_as_the_pixels_do(orientation: int) -> None:
    region = np.array([[1, 2, 4, 3]], np.int32)
    picture = np.zeros((7, 5, 3), np.uint8)
    picture[2:3, 1:4] = 1
    stored = turned_back(picture, orientation)
    assert np.array_equal(upright(stored, orientation), picture)
    ((x1, y1, x2, y2),) = turned = stored_regions(region, orientation, 5, 7)
    assert stored[y1:y2, x1:x2].sum() == stored.sum() == 3 * (y2 - y1) * (x2 - x1)
    height, width = stored.shape[:2]
    assert np.array_equal(upright_regions(turned, orientation, width, height), region)


@pytest.mark.parametrize("value", range(1, 9))
def test_an_orientation_is_written_as_others_read_it(value: int) -> None:
    exif = Image.Exif()
    exif.load(orientation_exif(value))
    assert dict(exif) == {274: value}
    assert read_orientation(orientation_exif(value)) == value
