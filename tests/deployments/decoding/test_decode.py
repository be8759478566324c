import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from deployments.decoding.decode import decode
from deployments.errors import ImageDecodeError, UnsupportedFormatError
from deployments.types import Decoded, Picture
from tests.deployments.decoding.pictures import (
    LIMIT,
    encode,
    exif_with_orientation,
    quadrants,
    srgb_profile,
    stored_for,
)


def picture_of(decoded: Decoded) -> Picture:
    assert decoded.picture is not None
    return decoded.picture


def test_facts_describe_the_upload() -> None:
    data = encode(quadrants(), "PNG")
    decoded = decode(data, max_pixels=LIMIT, keep_picture=True)
    info = decoded.info
    assert (info.format, info.width, info.height, info.channels) == ("png", 48, 32, 3)
    assert info.size_bytes == len(data)
    assert decoded.decode_ms > 0
    assert decoded.preprocess_ms > 0


def test_the_picture_is_left_out_when_only_detection_is_wanted() -> None:
    data = encode(quadrants(), "PNG", icc_profile=srgb_profile())
    assert decode(data, max_pixels=LIMIT, keep_picture=False).picture is None
    assert picture_of(decode(data, max_pixels=LIMIT, keep_picture=True)).icc_profile == srgb_profile()


def test_a_memoryview_is_as_good_as_bytes() -> None:
    data = encode(quadrants(), "PNG")
    picture = picture_of(decode(memoryview(data), max_pixels=LIMIT, keep_picture=True))
    assert np.array_equal(picture.pixels, quadrants())


@pytest.mark.parametrize("data", [b"", memoryview(b"")])
def test_an_empty_upload_is_a_decode_error(data: bytes | memoryview) -> None:
    with pytest.raises(ImageDecodeError, match="empty"):
        decode(data, max_pixels=LIMIT, keep_picture=False)


def test_unknown_bytes_are_unsupported() -> None:
    with pytest.raises(UnsupportedFormatError):
        decode(b"<svg/>", max_pixels=LIMIT, keep_picture=False)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("keep_picture", [True, False])
def test_all_orientations_show_the_same_picture(name: str, orientation: int, keep_picture: bool) -> None:
    stored = stored_for(quadrants(1400, 900), orientation)
    data = encode(stored, name, exif=exif_with_orientation(orientation))
    decoded = decode(data, max_pixels=LIMIT, keep_picture=keep_picture)
    assert (decoded.info.width, decoded.info.height) == (1400, 900)
    assert (decoded.canvas.width, decoded.canvas.height) == (1400, 900)
    assert decoded.canvas.pixels.shape == (411, 640, 3)
    assert decoded.canvas.det_scale == pytest.approx(640 / 1400)
    assert np.abs(decoded.canvas.pixels[100, 100].astype(int) - (255, 0, 0)).max() <= 3
    assert np.abs(decoded.canvas.pixels[300, 100].astype(int) - (0, 0, 255)).max() <= 3
    assert decoded.canvas.pixels.flags.c_contiguous
    if decoded.picture is not None:
        assert decoded.picture.pixels.flags.c_contiguous
        assert np.abs(decoded.picture.pixels[10, -10].astype(int) - (0, 255, 0)).max() <= 3


def test_det_scale_relates_to_the_original_although_the_jpeg_was_halved() -> None:
    data = encode(Image.new("RGB", (2000, 1000)), "JPEG")
    canvas = decode(data, max_pixels=LIMIT, keep_picture=False).canvas
    assert (canvas.width, canvas.height) == (2000, 1000)
    assert canvas.det_scale == pytest.approx(0.32)
    assert canvas.scale_x == pytest.approx(0.32)


def test_the_halved_canvas_looks_like_the_whole_one(astronaut: NDArray[np.uint8]) -> None:
    large = np.asarray(Image.fromarray(astronaut).resize((1600, 1600), Image.Resampling.BICUBIC))
    data = encode(large, "JPEG", quality=95)
    halved = decode(data, max_pixels=LIMIT, keep_picture=False).canvas.pixels.astype(int)
    whole = decode(data, max_pixels=LIMIT, keep_picture=True).canvas.pixels.astype(int)
    assert np.abs(halved - whole).mean() < 2


@pytest.mark.parametrize(("name", "side"), [("JPEG", 1600), ("JPEG", 700), ("PNG", 1600)])
def test_the_canvas_can_be_the_same_with_and_without_the_picture(
    astronaut: NDArray[np.uint8], name: str, side: int
) -> None:
    large = np.asarray(Image.fromarray(astronaut).resize((side, side), Image.Resampling.BICUBIC))
    data = encode(large, name, exif=exif_with_orientation(6))
    alone = decode(data, max_pixels=LIMIT, keep_picture=False).canvas.pixels
    kept = decode(data, max_pixels=LIMIT, keep_picture=True, same_canvas=True)
    assert np.array_equal(kept.canvas.pixels, alone)
    assert picture_of(kept).pixels.shape == (side, side, 3)


def test_what_full_transparency_hides_does_not_leave() -> None:
    picture = np.full((10, 10, 4), 200, np.uint8)
    picture[:5, :, 3] = 0
    decoded = decode(encode(picture, "PNG"), max_pixels=LIMIT, keep_picture=True)
    pixels = picture_of(decoded).pixels
    assert decoded.info.channels == 4
    assert not pixels[:5].any()
    assert np.array_equal(pixels[5:], picture[5:])
    assert (decoded.canvas.pixels[:280] == 255).all()


def test_opaque_alpha_is_kept() -> None:
    picture = np.dstack([quadrants(), np.full((32, 48), 255, np.uint8)])
    decoded = decode(encode(picture, "PNG"), max_pixels=LIMIT, keep_picture=True)
    assert np.array_equal(picture_of(decoded).pixels, picture)


@pytest.mark.parametrize("size", [(1, 50_000), (50_000, 1), (1, 1), (20_000, 3)])
def test_extreme_shapes_are_decoded(size: tuple[int, int]) -> None:
    decoded = decode(encode(Image.new("RGB", size), "PNG"), max_pixels=LIMIT, keep_picture=True)
    assert (decoded.info.width, decoded.info.height) == size
    assert max(decoded.canvas.pixels.shape) == 640


def test_threads_do_not_disturb_each_other() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (60, 80, 3), np.uint8) for _ in range(4)]
    uploads = [
        encode(picture, name) for picture in noise for name in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
    ]
    alone = [picture_of(decode(data, max_pixels=LIMIT, keep_picture=True)).pixels for data in uploads]
    barrier = threading.Barrier(8)

    def work(worker: int) -> bool:
        barrier.wait()
        order = np.random.default_rng(worker).permutation(len(uploads))
        together = {i: decode(uploads[i], max_pixels=LIMIT, keep_picture=True) for i in order}
        for data in uploads[:6]:
            with pytest.raises((ImageDecodeError, UnsupportedFormatError)):
                decode(data[: len(data) // 2], max_pixels=LIMIT, keep_picture=True)
        return all(np.array_equal(picture_of(together[i]).pixels, alone[i]) for i in order)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
