import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.decoding.letterbox import fit, shrink
from models.types import INPUT_SIZE


@pytest.mark.parametrize(
    ("size", "canvas"),
    [
        ((1920, 1080), (640, 360)),
        ((1080, 1920), (360, 640)),
        ((640, 640), (640, 640)),
        ((32, 40), (512, 640)),  # enlarged
        ((455, 568), (513, 640)),  # 512.68
        ((1, 1), (640, 640)),
        ((1, 1_000_000), (1, 640)),
        ((20_000, 1), (640, 1)),
    ],
)
def test_pictures_are_scaled_to_touch_the_input_square(
    size: tuple[int, int], canvas: tuple[int, int]
) -> None:
    width, height, scale = fit(*size)
    assert (width, height) == canvas
    assert scale == pytest.approx(640 / max(size))


@given(st.integers(1, 1_000_000), st.integers(1, 1_000_000))
def test_canvas_never_leaves_the_input_square(width: int, height: int) -> None:
    canvas_width, canvas_height, scale = fit(width, height)
    assert 1 <= min(canvas_width, canvas_height) <= max(canvas_width, canvas_height) == INPUT_SIZE
    assert abs(canvas_width - width * scale) <= 1
    assert abs(canvas_height - height * scale) <= 1


@pytest.mark.parametrize("shape", [(1, 200_000), (200_000, 1), (20_000, 3)])
def test_extreme_shapes_are_scaled(shape: tuple[int, int]) -> None:
    width, height, _ = fit(shape[1], shape[0])
    assert shrink(np.full((*shape, 3), 77, np.uint8), width, height).shape == (height, width, 3)


def test_bilinear_halving_averages_four_neighbours() -> None:
    pixels = np.array([[0, 40], [80, 120]], np.uint8)[:, :, None].repeat(3, axis=2)
    assert shrink(pixels, 1, 1).tolist() == [[[60, 60, 60]]]


def test_a_picture_of_the_right_size_is_not_copied() -> None:
    pixels = np.zeros((360, 640, 3), np.uint8)
    assert shrink(pixels, 640, 360) is pixels


def test_hidden_colours_do_not_bleed_into_the_canvas() -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)  # black under full transparency
    assert (shrink(pixels, 4, 4) == 255).all()
