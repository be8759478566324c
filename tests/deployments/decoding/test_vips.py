import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from deployments.decoding.sniff import sniff
from deployments.decoding.vips import VipsFormat, decode_vips
from deployments.errors import ImageDecodeError, ImageTooLargeError
from models.errors import FaceError
from tests.deployments.decoding.pictures import (
    LIMIT,
    encode,
    exif_with_orientation,
    png_chunk,
    png_claiming,
    quadrants,
    srgb_profile,
    stored_for,
)

FORMATS: list[VipsFormat] = ["png", "webp", "tiff", "gif", "heif"]
LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {"compression": "tiff_lzw"},
}
PILLOW = {"png": "PNG", "webp": "WEBP", "tiff": "TIFF", "gif": "GIF", "heif": "AVIF"}


def pixels_of(data: bytes) -> NDArray[np.uint8]:
    image_format = sniff(data)
    assert image_format != "bmp"
    return decode_vips(data, image_format, LIMIT).pixels


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("channels", [3, 4])
def test_lossless_formats_come_back_exactly(name: str, channels: int) -> None:
    picture = np.random.default_rng(0).integers(1, 256, (23, 31, channels), np.uint8)
    pixels = pixels_of(encode(picture, name, **LOSSLESS[name]))
    assert np.array_equal(pixels, picture)
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("name", ["PNG", "TIFF", "GIF"])
@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_grey_and_palette_become_rgb(name: str, mode: str) -> None:
    picture = Image.fromarray(quadrants()).convert(mode)
    pixels = pixels_of(encode(picture, name))
    assert np.abs(pixels.astype(int) - np.array(picture.convert("RGB"))).max() <= 1


def test_grey_with_alpha_becomes_rgba() -> None:
    picture = Image.merge("LA", [Image.new("L", (8, 8), 90), Image.new("L", (8, 8), 33)])
    assert pixels_of(encode(picture, "PNG"))[0, 0].tolist() == [90, 90, 90, 33]


def test_transparent_palette_entries_become_alpha() -> None:
    picture = Image.fromarray(quadrants()).convert("P")
    index = picture.getpixel((0, 0))
    pixels = pixels_of(encode(picture, "PNG", transparency=index))
    assert pixels[0, 0, 3] == 0
    assert pixels[-1, -1, 3] == 255


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(name: str) -> None:
    levels = np.array([[0, 257, 128 * 257, 65535]], np.uint16).repeat(4, axis=0)
    assert pixels_of(encode(levels, name))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_cmyk_tiff_is_shown_as_browsers_do() -> None:
    inks = Image.merge("CMYK", [Image.new("L", (8, 8), value) for value in (0, 51, 255, 51)])
    assert pixels_of(encode(inks, "TIFF"))[0, 0].tolist() == [204, 163, 0]


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF"])
def test_rgb_profiles_are_kept(name: str) -> None:
    data = encode(quadrants(), name, icc_profile=srgb_profile())
    image_format = sniff(data)
    assert image_format != "bmp"
    assert decode_vips(data, image_format, LIMIT).icc_profile == srgb_profile()


def test_the_profile_of_grey_pixels_is_not_passed_on() -> None:
    data = encode(np.zeros((8, 8), np.uint8), "TIFF", icc_profile=srgb_profile())
    assert decode_vips(data, "tiff", LIMIT).icc_profile is None


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_is_read_but_not_applied_here(name: str, orientation: int) -> None:
    data = encode(quadrants(), name, exif=exif_with_orientation(orientation))
    image_format = sniff(data)
    assert image_format != "bmp"
    raster = decode_vips(data, image_format, LIMIT)
    assert raster.orientation == orientation
    assert (raster.width, raster.height) == (48, 32)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_heif_is_turned_by_its_own_boxes_and_only_once(orientation: int) -> None:
    stored = stored_for(quadrants(), orientation)
    data = encode(stored, "AVIF", exif=exif_with_orientation(orientation), quality=95)
    raster = decode_vips(data, "heif", LIMIT)
    assert raster.orientation == 1
    assert raster.pixels.shape == (32, 48, 3)
    assert np.abs(raster.pixels[4, 4].astype(int) - (255, 0, 0)).max() < 30


@pytest.mark.parametrize("name", ["GIF", "WEBP", "TIFF", "PNG"])
def test_only_the_first_frame_counts(name: str) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ((255, 0, 0), (0, 0, 255), (0, 255, 0))]
    options = {"lossless": True} if name == "WEBP" else {}
    pixels = pixels_of(encode(frames[0], name, save_all=True, append_images=frames[1:], **options))
    assert pixels.shape[:2] == (10, 20)
    assert pixels[5, 5, :3].tolist() == [255, 0, 0]


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_truncated_picture_is_a_decode_error(
    image_format: VipsFormat, astronaut: NDArray[np.uint8]
) -> None:
    data = encode(astronaut[:200, :200], PILLOW[image_format])
    for length in (16, len(data) // 4, len(data) // 2, len(data) * 3 // 4):
        with pytest.raises(ImageDecodeError, match=f"{image_format}"):
            decode_vips(data[:length], image_format, LIMIT)


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_limit_is_judged_before_decoding(image_format: VipsFormat) -> None:
    data = encode(Image.new("RGB", (300, 200)), PILLOW[image_format])
    assert decode_vips(data, image_format, 60_000).width == 300
    with pytest.raises(ImageTooLargeError, match="300 x 200"):
        decode_vips(data, image_format, 59_999)


def test_a_header_that_claims_too_much_is_too_large_rather_than_corrupt() -> None:
    with pytest.raises(ImageTooLargeError):
        decode_vips(png_claiming(2**31 - 1, 2**31 - 1), "png", LIMIT)


def test_metadata_that_inflates_without_end_does_no_harm() -> None:
    bomb = zlib.compress(bytes(100 << 20), 9)
    data = encode(quadrants(), "PNG")
    for chunk in (png_chunk(b"iCCP", b"x\0\0" + bomb), png_chunk(b"zTXt", b"x\0\0" + bomb)):
        assert decode_vips(data[:33] + chunk + data[33:], "png", LIMIT).icc_profile is None


def test_a_gif_whose_frame_exceeds_its_screen_is_judged_by_the_frame() -> None:
    data = bytearray(encode(Image.new("P", (300, 200)), "GIF"))
    struct.pack_into("<HH", data, 6, 10, 10)
    with pytest.raises(ImageTooLargeError):
        decode_vips(bytes(data), "gif", 59_999)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_flipped_bytes_give_a_picture_or_a_named_error(data: st.DataObject) -> None:
    image_format = data.draw(st.sampled_from(FORMATS))
    corrupt = bytearray(encode(quadrants(), PILLOW[image_format]))
    for _ in range(data.draw(st.integers(1, 6))):
        corrupt[data.draw(st.integers(0, len(corrupt) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode_vips(bytes(corrupt), image_format, 1_000_000).pixels
    except FaceError:
        return
    assert pixels.shape[2] in {3, 4}


def test_a_file_that_libvips_quotes_beyond_utf_8_is_corrupt_and_so_is_the_next() -> None:
    avif = encode(quadrants(), "AVIF")
    broken = avif.replace(b"colr", b"\x8dolr").replace(b"\x04\x01\x02\x83\x04", b"\x04\x01\x02\x83\x84")
    assert broken.count(b"\x83\x84") == 1  # the property nobody knows is essential
    for data in (broken, png_claiming(4, 4)):
        with pytest.raises(ImageDecodeError):
            decode_vips(data, "heif" if data is broken else "png", LIMIT)
