import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms
from skimage.metrics import structural_similarity

from deployments.errors import MaskingError, UnencodableError
from deployments.masking.effects import gaussian, pixelate
from deployments.masking.encode import encode
from deployments.masking.mask import mask
from deployments.masking.regions import expand_boxes, scaled_strengths
from deployments.types import MaskMethod, MaskParams, Picture
from models.types import UInt8Array

METHODS: tuple[MaskMethod, ...] = ("gaussian", "pixelate", "solid", "elliptical")


def boxes(*corners: tuple[float, float, float, float]) -> NDArray[np.float32]:
    return np.array(corners, np.float32).reshape(-1, 4)


def masked_pixels(pixels: UInt8Array, found: NDArray[np.float32], **params: object) -> UInt8Array:
    result = mask(Picture(pixels.copy(), None), found, MaskParams(format="png", **params))  # type: ignore[arg-type]
    return np.asarray(Image.open(io.BytesIO(result.data)))


def test_a_box_grows_by_its_own_share_and_is_rounded_outwards() -> None:
    grown = expand_boxes(boxes((10.2, 20.2, 30.2, 60.2)), 0.1, 100, 100)
    assert grown.tolist() == [[8, 16, 33, 65]]


def test_a_grown_box_is_clipped_and_never_empty() -> None:
    grown = expand_boxes(boxes((-50, -50, 5, 5), (99.9, 99.9, 100, 100), (0, 0, 0, 0)), 1.0, 100, 100)
    assert (grown[:, 2:] > grown[:, :2]).all()
    assert grown.min() >= 0
    assert grown.max() <= 100


def test_strength_grows_with_faces_over_200_pixels_only() -> None:
    found = boxes((0, 0, 100, 200), (0, 0, 400, 100), (0, 0, 100, 250))
    assert scaled_strengths(found, 100).tolist() == [100, 200, 125]


def test_boxes_that_are_not_finite_or_not_four_numbers_are_an_error() -> None:
    picture = Picture(np.zeros((10, 10, 3), np.uint8), None)
    for wrong in (boxes((0, 0, float("nan"), 5)), boxes((0, 0, 5, 5))[:, :3], boxes((0, 0, 5, 5))[0]):
        with pytest.raises(MaskingError):
            mask(picture, wrong, MaskParams())


@pytest.mark.parametrize("kernel", [3, 31, 99, 199, 401])
@pytest.mark.parametrize("size", [(260, 300), (60, 45), (512, 512)])
def test_the_fast_blur_looks_like_the_true_gaussian_and_is_never_weaker(
    astronaut: UInt8Array, kernel: int, size: tuple[int, int]
) -> None:
    crop = np.ascontiguousarray(astronaut[: size[0], 100 : 100 + size[1]])
    exact = cv2.GaussianBlur(crop, (kernel, kernel), 0)
    fast = gaussian(crop, kernel)
    window = min(7, *(s | 1 for s in fast.shape[:2]))
    assert structural_similarity(exact, fast, channel_axis=2, win_size=window) >= 0.985
    detail_exact, detail_fast = (cv2.Laplacian(p.astype(np.float32), cv2.CV_32F).var() for p in (exact, fast))
    assert detail_fast <= detail_exact * 1.1 + 1.0


def test_pixelate_gives_each_block_the_mean_of_its_pixels() -> None:
    crop = np.zeros((4, 4, 3), np.uint8)
    crop[:2, :2] = [[[0, 0, 0], [100, 100, 100]], [[100, 100, 100], [200, 200, 200]]]
    result = pixelate(crop, 2)
    assert (result[:2, :2] == 100).all()
    assert (result[2:, 2:] == 0).all()


def test_a_block_that_is_cut_off_has_the_mean_of_its_own_pixels() -> None:
    crop = np.zeros((3, 5, 3), np.uint8)
    crop[2, 4] = 90
    crop[2, :4] = 20
    result = pixelate(crop, 4)
    assert result.shape == crop.shape
    assert (result[:, :4] == 7).all()
    assert (result[:, 4:] == 30).all()


@pytest.mark.parametrize("shape", [(30, 20, 3), (1, 900, 3), (900, 1, 4)])
def test_a_block_larger_than_the_face_is_one_colour_and_little_memory(shape: tuple[int, ...]) -> None:
    crop = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    result = pixelate(crop, 1_000_000)  # padded to whole blocks, it would be three terabytes
    assert result.shape == crop.shape
    assert np.abs(result.astype(int) - crop.mean((0, 1))).max() <= 1


@pytest.mark.parametrize("method", METHODS)
def test_pixels_outside_the_regions_are_untouched(astronaut: UInt8Array, method: MaskMethod) -> None:
    result = masked_pixels(astronaut, boxes((180, 70, 270, 190)), method=method, padding=0.0)
    outside = np.ones(astronaut.shape[:2], bool)
    outside[70:190, 180:270] = False
    assert np.array_equal(result[outside], astronaut[outside])
    assert not np.array_equal(result[100:150, 200:250], astronaut[100:150, 200:250])


@pytest.mark.parametrize("method", METHODS)
def test_nothing_from_outside_flows_into_a_region(astronaut: UInt8Array, method: MaskMethod) -> None:
    face, white = boxes((180, 70, 270, 190)), np.full_like(astronaut, 255)
    white[70:190, 180:270] = astronaut[70:190, 180:270]
    results = [
        masked_pixels(p, face, method=method, padding=0.0, strength=9, has_floor=False)[70:190, 180:270]
        for p in (astronaut, white)
    ]
    assert np.array_equal(*results)


def test_solid_is_black_and_the_default_leaves_little_detail(astronaut: UInt8Array) -> None:
    face = boxes((180, 70, 270, 190))
    assert masked_pixels(astronaut, face, method="solid", padding=0.0)[70:190, 180:270].max() == 0
    blurred = masked_pixels(astronaut, face)
    detail = [cv2.Laplacian(p[80:180, 190:260], cv2.CV_64F).var() for p in (blurred, astronaut)]
    assert detail[0] < detail[1] / 100


def test_the_ellipse_is_blurred_and_its_corners_are_not(astronaut: UInt8Array) -> None:
    result = masked_pixels(astronaut, boxes((180, 70, 270, 190)), method="elliptical", padding=0.0)
    assert np.array_equal(result[70:74, 180:184], astronaut[70:74, 180:184])
    assert not np.array_equal(result[125:135, 220:230], astronaut[125:135, 220:230])


def test_alpha_survives_in_png_and_a_cut_out_silhouette_does_not(astronaut: UInt8Array) -> None:
    alpha = np.zeros((*astronaut.shape[:2], 1), np.uint8)
    cv2.ellipse(alpha, (225, 130), (40, 55), 0, 0, 360, 255, -1)
    pixels = np.concatenate([np.where(alpha > 0, astronaut, 0), alpha], axis=2)
    result = masked_pixels(pixels, boxes((180, 70, 270, 190)))
    assert result.shape[2] == 4
    edges = [cv2.Laplacian(p[70:190, 180:270, 3], cv2.CV_64F).var() for p in (result, pixels)]
    assert edges[0] < edges[1] / 50


def test_jpeg_is_flattened_on_white() -> None:
    pixels = np.zeros((32, 32, 4), np.uint8)
    result = mask(Picture(pixels, None), boxes(), MaskParams(format="jpeg"))
    assert np.asarray(Image.open(io.BytesIO(result.data))).min() >= 253


@settings(max_examples=40, deadline=None)
@given(
    corners=st.lists(st.tuples(*[st.floats(-300, 300, width=32)] * 4), max_size=4),
    method=st.sampled_from(METHODS),
    strength=st.integers(1, 999),
    padding=st.floats(0, 1),
)
def test_any_finite_boxes_are_masked_without_an_error(
    corners: list[tuple[float, float, float, float]], method: MaskMethod, strength: int, padding: float
) -> None:
    picture = Picture(np.full((40, 60, 3), 200, np.uint8), None)
    found = boxes(*((min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners))
    result = mask(picture, found, MaskParams(method, strength, padding, "png"))
    assert result.regions_masked == len(found)


def jpeg_segments(data: bytes) -> list[tuple[int, bytes]]:
    segments, at = [], 2
    while data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append((data[at + 1], data[at + 4 : at + 2 + length]))
        at += 2 + length
    return segments


def test_encoded_pictures_carry_pixels_and_the_profile_and_nothing_else(astronaut: UInt8Array) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for icc in (None, profile):
        jpeg = encode(astronaut, icc, "jpeg", 90)
        assert jpeg.endswith(b"\xff\xd9")
        extras = {marker for marker, _ in jpeg_segments(jpeg)} - {0xE0, 0xDB, 0xC0, 0xC4}
        assert extras == ({0xE2} if icc else set())
        png = encode(astronaut, icc, "png", 90)
        kinds, at = set(), 8
        while at < len(png):
            kinds.add(png[at + 4 : at + 8])
            at += 12 + int.from_bytes(png[at : at + 4], "big")
        assert kinds <= {b"IHDR", b"IDAT", b"IEND", b"iCCP", b"pHYs"}
        webp = encode(astronaut, icc, "webp", 90)
        chunks, at = set(), 12
        while at < len(webp):
            chunks.add(webp[at : at + 4])
            size = int.from_bytes(webp[at + 4 : at + 8], "little")
            at += 8 + size + (size & 1)
        assert chunks <= {b"VP8 ", b"VP8X", b"ICCP", b"ALPH"}
        for data in (jpeg, png, webp):
            assert Image.open(io.BytesIO(data)).info.get("icc_profile") == icc


def test_a_profile_of_many_segments_comes_back_whole(astronaut: UInt8Array) -> None:
    profile = bytes(np.random.default_rng(1).integers(0, 256, 200_000, np.uint8))
    data = encode(astronaut, profile, "jpeg", 80)
    assert Image.open(io.BytesIO(data)).info["icc_profile"] == profile


def test_a_picture_too_long_for_webp_is_refused_with_a_way_out() -> None:
    with pytest.raises(UnencodableError, match="png"):
        encode(np.zeros((1, 16384, 3), np.uint8), None, "webp", 80)
