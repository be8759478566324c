import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from deployments.decoding.jpeg import decode_jpeg
from deployments.decoding.jpeg_header import check_scans, read_jpeg_header
from deployments.errors import ImageDecodeError, ImageTooLargeError
from models.errors import FaceError
from tests.deployments.decoding.pictures import (
    LIMIT,
    encode,
    exif_with_orientation,
    quadrants,
    segment,
    srgb_profile,
    with_segment,
)

BASELINE = encode(quadrants(), "JPEG", quality=90)
PROGRESSIVE = encode(quadrants(), "JPEG", quality=90, progressive=True)


def full(data: bytes) -> NDArray[np.uint8]:
    return decode_jpeg(data, LIMIT, keep_picture=True).pixels


@pytest.mark.parametrize("data", [BASELINE, PROGRESSIVE, encode(quadrants(), "JPEG", subsampling=0)])
def test_colours_come_out_as_rgb(data: bytes) -> None:
    pixels = full(data)
    assert pixels.shape == (32, 48, 3)
    for (row, column), colour in {(4, 4): (255, 0, 0), (4, 44): (0, 255, 0), (28, 4): (0, 0, 255)}.items():
        assert np.abs(pixels[row, column].astype(int) - colour).max() <= 6


def test_grey_becomes_three_equal_channels() -> None:
    pixels = full(encode(np.full((16, 16), 90, np.uint8), "JPEG"))
    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels.astype(int) - 90).max() <= 1


def test_cmyk_without_profile_is_shown_as_browsers_do() -> None:
    inks = Image.merge("CMYK", [Image.new("L", (16, 16), value) for value in (0, 51, 255, 51)])
    red, green, blue = full(encode(inks, "JPEG", quality=100))[8, 8].astype(int)
    assert red == pytest.approx(204, abs=3)  # 255 x 0.8
    assert green == pytest.approx(163, abs=3)  # 255 x 0.8 x 0.8
    assert blue == pytest.approx(0, abs=3)


def test_rgb_profile_is_kept_and_put_together_from_its_segments() -> None:
    profile = srgb_profile()
    split = with_segment(BASELINE, 0xE2, b"ICC_PROFILE\0\x02\x02" + profile[100:])
    split = with_segment(split, 0xE2, b"ICC_PROFILE\0\x01\x02" + profile[:100])
    for data in (split, encode(quadrants(), "JPEG", icc_profile=profile)):
        assert decode_jpeg(data, LIMIT, keep_picture=True).icc_profile == profile


def test_incomplete_or_foreign_profiles_are_dropped() -> None:
    profile = srgb_profile()
    half = with_segment(BASELINE, 0xE2, b"ICC_PROFILE\0\x01\x02" + profile[:100])
    grey = encode(np.zeros((8, 8), np.uint8), "JPEG", icc_profile=profile)
    for data in (half, grey):
        assert decode_jpeg(data, LIMIT, keep_picture=True).icc_profile is None


def test_detection_decodes_at_half_size_where_that_covers_the_canvas() -> None:
    data = encode(Image.new("RGB", (1921, 1081), (10, 200, 30)), "JPEG")
    raster = decode_jpeg(data, LIMIT, keep_picture=False)
    assert (raster.width, raster.height) == (1921, 1081)
    assert raster.pixels.shape == (541, 961, 3)


@pytest.mark.parametrize("size", [(1278, 700), (700, 1278), (640, 480), (31, 7)])
def test_detection_never_decodes_below_the_canvas(size: tuple[int, int]) -> None:
    raster = decode_jpeg(encode(Image.new("RGB", size), "JPEG"), LIMIT, keep_picture=False)
    assert raster.pixels.shape[1::-1] == size


def test_orientation_comes_from_the_first_exif_segment() -> None:
    data = encode(quadrants(), "JPEG", exif=exif_with_orientation(6))
    data = with_segment(data, 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>")
    assert decode_jpeg(data, LIMIT, keep_picture=True).orientation == 6
    assert decode_jpeg(BASELINE, LIMIT, keep_picture=True).orientation == 1


@pytest.mark.parametrize("data", [BASELINE, PROGRESSIVE])
def test_every_truncation_is_a_decode_error(data: bytes) -> None:
    for length in range(4, len(data), 37):
        with pytest.raises(ImageDecodeError):
            full(data[:length])


@pytest.mark.parametrize(
    "data",
    [
        BASELINE + b"PK\x03\x04 trailing",
        BASELINE[:-2] + b"\0\0\0" + BASELINE[-2:],
        BASELINE[:2] + b"\0\0garbage" + BASELINE[2:],  # extraneous bytes before a marker
        BASELINE[:2] + b"\xff\xff\xff" + BASELINE[2:],  # fill bytes
    ],
)
def test_oddities_that_viewers_show_are_shown(data: bytes) -> None:
    assert np.array_equal(full(data), full(BASELINE))


def test_sampling_factors_that_contradict_the_data_are_a_named_error() -> None:
    frame = BASELINE.index(b"\xff\xc0")
    sampling = frame + 11
    assert BASELINE[sampling] == 0x22
    with pytest.raises(FaceError):
        full(BASELINE[:sampling] + b"\x41" + BASELINE[sampling + 1 :])


def test_the_limit_is_judged_before_decoding() -> None:
    claim = BASELINE.index(b"\xff\xc0") + 5
    huge = BASELINE[:claim] + b"\xff\xdc\xff\xdc" + BASELINE[claim + 4 :]
    with pytest.raises(ImageTooLargeError, match="65500 x 65500"):
        full(huge)
    with pytest.raises(ImageTooLargeError):
        decode_jpeg(BASELINE, 48 * 32 - 1, keep_picture=True)


@pytest.mark.parametrize(
    "data", [b"\xff\xd8\xff\xd9", b"\xff\xd8\xff", b"\xff\xd8" + segment(0xDA, bytes(10))]
)
def test_a_jpeg_without_a_frame_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(ImageDecodeError):
        full(data)


def test_repeated_scans_are_refused_and_honest_ones_are_not() -> None:
    header = read_jpeg_header(PROGRESSIVE)
    assert header.has_more_scans
    check_scans(PROGRESSIVE, header)
    last = PROGRESSIVE.rindex(b"\xff\xda")
    bomb = PROGRESSIVE[:-2] + PROGRESSIVE[last:-2] * 100 + b"\xff\xd9"
    with pytest.raises(ImageDecodeError, match="more than 100 scans"):
        full(bomb)


def test_an_end_marker_inside_a_segment_does_not_hide_the_scans_behind_it() -> None:
    last = PROGRESSIVE.rindex(b"\xff\xda")
    comment = segment(0xFE, b"\xff\xd9")
    bomb = PROGRESSIVE[:-2] + comment + PROGRESSIVE[last:-2] * 100 + b"\xff\xd9"
    with pytest.raises(ImageDecodeError, match="more than 100 scans"):
        full(bomb)


def test_a_scan_of_all_components_is_alone() -> None:
    header = read_jpeg_header(BASELINE)
    assert not header.has_more_scans
    assert (header.width, header.height) == (48, 32)


def test_endless_segments_are_refused() -> None:
    with pytest.raises(ImageDecodeError, match="segments"):
        full(b"\xff\xd8" + segment(0xFE, b"") * 20_000 + BASELINE[2:])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipped_bytes_give_a_picture_or_a_named_error(data: st.DataObject) -> None:
    corrupt = bytearray(data.draw(st.sampled_from([BASELINE, PROGRESSIVE])))
    for _ in range(data.draw(st.integers(1, 6))):
        corrupt[data.draw(st.integers(3, len(corrupt) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode_jpeg(bytes(corrupt), 1_000_000, keep_picture=False).pixels
    except FaceError:
        return
    assert pixels.shape[2] == 3


def test_decoding_equals_libjpeg_turbo_on_a_photo(astronaut: NDArray[np.uint8]) -> None:
    data = encode(astronaut, "JPEG", quality=92)
    assert np.array_equal(full(data), simplejpeg.decode_jpeg(data))
