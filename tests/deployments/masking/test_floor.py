"""The floor: what no strength that a client asks for gets under, unless it is switched off by name."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from deployments.masking.mask import final_strengths, hide_faces, style
from deployments.masking.regions import least_strengths, scaled_strengths
from deployments.masking.veil import AMPLITUDE, veiled
from deployments.types import MaskMethod, MaskParams

METHODS: tuple[MaskMethod, ...] = ("gaussian", "pixelate", "solid", "elliptical")
FACE = (180, 70, 276, 190)


def face_of(side: float) -> NDArray[np.float32]:
    return np.array([[10, 20, 10 + 0.8 * side, 20 + side]], np.float32)


@given(side=st.floats(1, 5000), method=st.sampled_from(METHODS))
def test_the_default_strength_is_never_raised(side: float, method: MaskMethod) -> None:
    params = MaskParams(method)
    assert final_strengths(face_of(side), params)[1] == 0


@given(side=st.floats(1, 5000), method=st.sampled_from(METHODS), strength=st.integers(1, 999))
def test_no_strength_stays_under_the_floor_and_none_is_lowered(
    side: float, method: MaskMethod, strength: int
) -> None:
    params = MaskParams(method, strength)
    face = face_of(side)
    (final,), raised = final_strengths(face, params)
    (asked,), (least,) = scaled_strengths(face, strength), least_strengths(face, *style(params))
    assert final == max(asked, least)
    assert raised == (asked < least)
    (unbounded,), none = final_strengths(face, MaskParams(method, strength, has_floor=False))
    assert (unbounded, none) == (asked, 0)


@given(side=st.floats(1, 5000), strength=st.integers(1, 999))
def test_no_blur_in_an_ellipse_is_weaker_than_the_default(side: float, strength: int) -> None:
    face = face_of(side)
    (default,), _ = final_strengths(face, MaskParams("elliptical"))
    for params in (MaskParams("elliptical", strength), MaskParams("gaussian", strength, shape="ellipse")):
        assert final_strengths(face, params)[0][0] >= default


@pytest.mark.parametrize("side", [24, 60, 120, 300])
@pytest.mark.parametrize("method", ["gaussian", "pixelate", "elliptical"])
def test_of_a_face_of_any_size_the_floor_leaves_a_few_soft_values(
    astronaut: NDArray[np.uint8], side: int, method: MaskMethod
) -> None:
    """Told apart at a quarter of its size, a masked face keeps under a quarter of the differences it had."""
    x1, y1, x2, y2 = FACE
    face = cv2.resize(astronaut[y1:y2, x1:x2], (round(side * 0.8), side), interpolation=cv2.INTER_AREA)
    picture = cv2.copyMakeBorder(face, 20, 20, 20, 20, cv2.BORDER_REPLICATE)
    box = np.array([[20, 20, 20 + face.shape[1], 20 + side]], np.float32)
    masked = np.array(picture, np.uint8)
    hide_faces(masked, box, MaskParams(method, 1, padding=0.0))
    detail = []
    for pixels in (picture, masked):
        inner = pixels[20 + side // 5 : 20 + side * 4 // 5, 20 + side // 5 : 20 + side * 3 // 5]
        grey = inner.mean(axis=2)
        detail.append(np.std(grey - cv2.blur(grey, (side // 4 | 1, side // 4 | 1))))
    assert detail[1] < detail[0] / 4


def test_two_results_differ_and_never_by_more_than_the_noise(astronaut: NDArray[np.uint8]) -> None:
    results = []
    for _ in range(2):
        pixels = astronaut.copy()
        hide_faces(pixels, np.array([FACE], np.float32), MaskParams())
        results.append(pixels.astype(int))
    difference = np.abs(results[0] - results[1])
    assert 2 < difference.max() <= 2 * AMPLITUDE + 2


def test_the_veil_keeps_the_mean_colour_and_the_alpha() -> None:
    pixels = np.zeros((60, 60, 4), np.uint8)
    pixels[:30] = (200, 120, 60, 255)
    pixels[30:] = (100, 120, 160, 128)
    veil = veiled(pixels, 4.0)
    assert np.array_equal(veil[..., 3], pixels[..., 3])
    assert np.abs(veil[..., :3].mean((0, 1)) - pixels[..., :3].mean((0, 1))).max() < 3
    contrast = veil[:30, :, 0].mean() - veil[30:, :, 0].mean()
    assert 15 < contrast < 45
