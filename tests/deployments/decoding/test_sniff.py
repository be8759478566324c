import numpy as np
import pytest

from deployments.decoding.sniff import sniff
from deployments.errors import UnsupportedFormatError
from tests.deployments.decoding.pictures import encode, quadrants


@pytest.mark.parametrize(
    ("pillow_format", "expected"),
    [
        ("JPEG", "jpeg"),
        ("PNG", "png"),
        ("WEBP", "webp"),
        ("BMP", "bmp"),
        ("TIFF", "tiff"),
        ("GIF", "gif"),
        ("AVIF", "heif"),
    ],
)
def test_every_input_format_is_known_by_its_bytes(pillow_format: str, expected: str) -> None:
    assert sniff(encode(quadrants(), pillow_format)) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\xff\xd8",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<?xml version='1.0'?><svg/>",
        b"%PDF-1.7",
        b"BMW is not a bitmap, whatever its first letters say",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"\0\0\0\x18ftypisom\0\0\0\0isommp41",
        b"PK\x03\x04",
        b"\x89PNG\r\n\x1a\r" + bytes(64),
        b"GIF88a" + bytes(64),
    ],
)
def test_everything_else_is_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedFormatError, match="JPEG, PNG, WebP"):
        sniff(data)


def test_an_icon_is_unsupported_although_it_holds_a_bitmap() -> None:
    with pytest.raises(UnsupportedFormatError):
        sniff(encode(np.zeros((16, 16, 3), np.uint8), "ICO"))


def test_heif_is_also_known_by_a_compatible_brand() -> None:
    assert sniff(b"\0\0\0\x18ftypmiaf\0\0\0\0miafheic") == "heif"
    with pytest.raises(UnsupportedFormatError):  # the brand lies outside the box
        sniff(b"\0\0\0\x14ftypmiaf\0\0\0\0miafheic")
