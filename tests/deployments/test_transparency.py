import numpy as np

from deployments.transparency import flatten


def test_flattening_lays_colours_on_white() -> None:
    pixels = np.array([[[200, 100, 0, 0], [200, 100, 0, 255], [200, 100, 0, 51]]], np.uint8)
    flat = flatten(pixels)
    assert flat[0, 0].tolist() == [255, 255, 255]
    assert flat[0, 1].tolist() == [200, 100, 0]
    assert flat[0, 2].tolist() == [244, 224, 204]  # 0.2 x colour + 0.8 x 255


def test_flattening_is_right_to_one_level_across_strips() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (700, 1000, 4), np.uint8)
    share = pixels[:, :, 3:] / 255
    exact = pixels[:, :, :3] * share + 255 * (1 - share)
    assert np.abs(flatten(pixels) - exact).max() <= 1


def test_a_picture_without_transparency_is_not_copied() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    assert flatten(pixels) is pixels
