import struct

import cv2
import numpy as np
import pytest

from deployments.decoding.claim import claimed_pixels
from deployments.decoding.decode import decode
from deployments.errors import ImageDecodeError, ImageTooLargeError, UnsupportedFormatError
from tests.deployments.decoding.heifs import AVIF, HEIGHT, WIDTH, derived
from tests.deployments.decoding.pictures import encode

MOST = 50_000_000


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_reads_the_size_of_common_formats(suffix: str) -> None:
    _, data = cv2.imencode(suffix, np.zeros((20, 30, 3), np.uint8))
    assert claimed_pixels(data.tobytes(), MOST) == 600


@pytest.mark.parametrize("suffix", [".bmp", ".tiff"])
def test_counts_others_as_the_most_there_may_be(suffix: str) -> None:
    _, data = cv2.imencode(suffix, np.zeros((20, 30, 3), np.uint8))
    assert claimed_pixels(data.tobytes(), MOST) == MOST


def test_a_heif_counts_as_the_largest_picture_in_it_or_its_tiles() -> None:
    assert claimed_pixels(AVIF, MOST) == WIDTH * HEIGHT
    assert claimed_pixels(derived("grid", (WIDTH, HEIGHT), (100, 100)), MOST) == 10_000
    tiles = derived("grid", (3 * WIDTH, HEIGHT), (WIDTH, HEIGHT), 3)
    assert claimed_pixels(tiles, MOST) == 3 * WIDTH * HEIGHT
    assert claimed_pixels(tiles, 2 * WIDTH * HEIGHT) == 2 * WIDTH * HEIGHT
    assert claimed_pixels(AVIF[:32], MOST) == MOST


def test_a_gif_counts_as_the_most_since_its_frames_may_be_larger_than_its_screen() -> None:
    gif = bytearray(encode(np.zeros((30, 40), np.uint8), "GIF"))
    gif[6:10] = struct.pack("<HH", 1, 1)
    assert decode(bytes(gif), max_pixels=MOST, keep_picture=False).info.width == 40
    assert claimed_pixels(bytes(gif), MOST) == MOST


def test_refuses_what_needs_no_decoder_to_refuse() -> None:
    _, data = cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(ImageTooLargeError):
        claimed_pixels(data.tobytes(), 599)
    with pytest.raises(ImageDecodeError, match="truncated"):
        claimed_pixels(data.tobytes()[:20], MOST)
    with pytest.raises(ImageDecodeError, match="empty"):
        claimed_pixels(b"", MOST)
    with pytest.raises(UnsupportedFormatError):
        claimed_pixels(b"plain text", MOST)
