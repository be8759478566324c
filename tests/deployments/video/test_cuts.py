import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.video.cuts import Cuts
from models.types import Canvas, UInt8Array


def canvas(picture: NDArray[np.uint8]) -> Canvas:
    pixels = np.ascontiguousarray(picture)
    return Canvas(pixels, pixels.shape[1], pixels.shape[0], 1.0)


def cuts(pictures: list[NDArray[np.uint8]]) -> list[int]:
    watcher = Cuts()
    return [index for index, picture in enumerate(pictures) if watcher.is_cut(canvas(picture))]


@pytest.fixture
def other() -> UInt8Array:
    rng = np.random.default_rng(3)
    return np.asarray(cv2.resize(rng.integers(0, 255, (5, 5, 3), np.uint8), (512, 512)), np.uint8)


def test_another_picture_is_a_cut(astronaut: NDArray[np.uint8], other: UInt8Array) -> None:
    assert cuts([astronaut] * 3 + [other] * 3 + [astronaut]) == [3, 6]


def test_a_flash_of_light_and_a_fast_pan_are_none(astronaut: NDArray[np.uint8]) -> None:
    bright = np.clip(astronaut.astype(int) + 60, 0, 255).astype(np.uint8)
    dark = (astronaut // 2).astype(np.uint8)
    assert cuts([astronaut, bright, astronaut, dark, astronaut]) == []
    wide = np.concatenate([astronaut, astronaut[:, ::-1]], axis=1)
    assert cuts([wide[:, x : x + 512] for x in range(0, 512, 24)]) == []


def test_noise_over_black_is_none() -> None:
    rng = np.random.default_rng(0)
    assert cuts([rng.integers(0, 12, (360, 640, 3), np.uint8) for _ in range(5)]) == []
