import pytest
from PIL import Image

from deployments.decoding.header import check_size, read_size
from deployments.errors import ImageDecodeError, ImageTooLargeError
from deployments.types import InputFormat
from tests.deployments.decoding.pictures import encode, png_claiming


@pytest.mark.parametrize(
    ("data", "image_format"),
    [
        (encode(Image.new("RGB", (301, 17)), "PNG"), "png"),
        (encode(Image.new("RGB", (301, 17)), "GIF"), "gif"),
        (encode(Image.new("RGB", (301, 17)), "WEBP"), "webp"),
        (encode(Image.new("RGB", (301, 17)), "WEBP", lossless=True), "webp"),
        (encode(Image.new("RGBA", (301, 17), (9, 9, 9, 9)), "WEBP"), "webp"),  # VP8X
    ],
)
def test_size_comes_from_the_header_alone(data: bytes, image_format: InputFormat) -> None:
    assert read_size(data[:32], image_format) == (301, 17)


@pytest.mark.parametrize("image_format", ["png", "gif", "webp"])
def test_a_cut_header_is_a_decode_error(image_format: InputFormat) -> None:
    data = encode(Image.new("RGB", (301, 17)), image_format.upper())
    for length in range(20 if image_format == "webp" else 10):
        with pytest.raises(ImageDecodeError):
            read_size(data[:length], image_format)


def test_size_of_tiff_and_heif_is_left_to_libvips() -> None:
    assert read_size(b"", "tiff") is None
    assert read_size(b"", "heif") is None


def test_huge_claims_are_read_as_unsigned() -> None:
    assert read_size(png_claiming(2**31 - 1, 2**32 - 1), "png") == (2**31 - 1, 2**32 - 1)


def test_limit_is_on_the_product_and_exact() -> None:
    check_size(1000, 1000, 1_000_000)
    with pytest.raises(ImageTooLargeError, match="1000 x 1001 = 1001000 pixels; at most 1000000"):
        check_size(1000, 1001, 1_000_000)


def test_absurd_sides_are_too_large_even_within_the_limit() -> None:
    with pytest.raises(ImageTooLargeError):
        check_size(1, 1_000_001, 50_000_000)


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (-5, 5), (0, 0)])
def test_a_picture_without_area_is_a_decode_error(width: int, height: int) -> None:
    with pytest.raises(ImageDecodeError):
        check_size(width, height, 100)
