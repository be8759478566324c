import io
import struct
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from deployments.decoding import heif
from deployments.decoding.decode import decode
from deployments.errors import ImageDecodeError, ImageTooLargeError, UnsupportedFormatError
from models.errors import FaceError
from tests.deployments.decoding.heifs import AVIF, HEIGHT, PLAIN, STYLES, WIDTH, Style, derived
from tests.deployments.decoding.pictures import (
    LIMIT,
    encode,
    exif_with_orientation,
    quadrants,
    srgb_profile,
    stored_for,
)

SIZE = (WIDTH, HEIGHT)
pillow_heif.register_heif_opener()


def heic(pixels: NDArray[Any] | Image.Image, **options: Any) -> bytes:
    """What a telephone makes, but for the tiles."""
    return encode(pixels, "HEIF", quality=95, **options)


def pixels_of(data: bytes) -> NDArray[np.int16]:
    picture = decode(data, max_pixels=LIMIT, keep_picture=True).picture
    assert picture is not None
    return picture.pixels.astype(np.int16)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_heic_is_read_as_it_is(mode: str) -> None:
    picture = Image.fromarray(quadrants()).convert(mode)
    wanted = np.array(picture.convert("RGB") if mode == "L" else picture)
    pixels = pixels_of(heic(picture))
    assert pixels.shape == wanted.shape
    assert np.abs(pixels - wanted)[4:-4:8, 4:-4:8].max() <= 4


def test_colours_multiplied_by_alpha_are_divided_again() -> None:
    half = np.full((32, 32, 4), (100, 50, 0, 128), np.uint8)
    file = pillow_heif.from_bytes("RGBa", (32, 32), half.tobytes())
    data = encode_heif(file)
    assert pillow_heif.open_heif(data).premultiplied_alpha
    assert np.abs(pixels_of(data)[16, 16] - (199, 100, 0, 128)).max() <= 5


def encode_heif(file: pillow_heif.HeifFile) -> bytes:
    stream = io.BytesIO()
    file.save(stream, quality=95)
    return stream.getvalue()


@pytest.mark.parametrize(("mode", "bands"), [("RGB;16", 3), ("I;16", 1)])
def test_a_heic_of_more_than_eight_bits_becomes_eight(mode: str, bands: int) -> None:
    deep = np.full((32, 32, bands), 200 << 8, np.uint16)
    data = encode_heif(pillow_heif.from_bytes(mode, (32, 32), deep.tobytes()))
    assert pillow_heif.open_heif(data).info["bit_depth"] == 10
    assert np.abs(pixels_of(data) - 200).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_is_upright(orientation: int) -> None:
    upright = quadrants()
    stored = stored_for(upright, orientation)
    data = heic(stored, exif=exif_with_orientation(orientation))
    assert np.abs(pixels_of(data) - upright)[4:-4:8, 4:-4:8].max() <= 4


def test_an_rgb_profile_of_a_heic_is_kept() -> None:
    picture = decode(
        heic(quadrants(), icc_profile=srgb_profile()), max_pixels=LIMIT, keep_picture=True
    ).picture
    assert picture is not None
    assert picture.icc_profile == srgb_profile()


def test_a_heic_that_is_cut_off_or_too_large_is_refused() -> None:
    data = heic(quadrants())
    with pytest.raises(ImageDecodeError, match="corrupt"):
        decode(data[:-20], max_pixels=LIMIT, keep_picture=False)
    with pytest.raises(ImageTooLargeError):
        decode(data, max_pixels=WIDTH * HEIGHT - 1, keep_picture=False)


def test_without_the_extra_a_heic_is_no_known_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heif, "pillow_heif", None)
    with pytest.raises(UnsupportedFormatError, match="HEIC"):
        decode(heic(quadrants()), max_pixels=LIMIT, keep_picture=False)
    assert decode(AVIF, max_pixels=LIMIT, keep_picture=False).info.width == WIDTH


@pytest.mark.parametrize("coded", ["HEIF", "AVIF"])
def test_a_picture_larger_than_the_file_says_is_refused_before_it_is_made(coded: str) -> None:
    data = encode(Image.new("RGB", (1500, 1500)), coded)
    assert data.count(struct.pack(">II", 1500, 1500)) == 1
    small = data.replace(struct.pack(">II", 1500, 1500), struct.pack(">II", *SIZE))
    with pytest.raises(ImageDecodeError) as raised:
        decode(small, max_pixels=LIMIT, keep_picture=False)
    assert "exceeds the maximum image size" in str(raised.value.__cause__)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_flipped_bytes_of_a_heic_give_a_picture_or_a_named_error(data: st.DataObject) -> None:
    corrupt = bytearray(heic(quadrants(), exif=exif_with_orientation(6)))
    for _ in range(data.draw(st.integers(1, 6))):
        corrupt[data.draw(st.integers(0, len(corrupt) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode(bytes(corrupt), max_pixels=1_000_000, keep_picture=True)
    except FaceError:
        return
    assert decoded.info.channels in {3, 4}


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


MANY = 8_001


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
