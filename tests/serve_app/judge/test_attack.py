"""The attack is worth its name: it undoes a bare blur, and what is masked here withstands it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.masking.effects import gaussian, pixelate, sigma_of
from deployments.masking.mask import hide_faces
from deployments.types import MaskMethod, MaskParams
from serve_app.judge.attack import blurred_throughout, psnr, restored, wiener

FACE = (180, 70, 276, 190)


def face_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    x1, y1, x2, y2 = FACE
    return np.ascontiguousarray(pixels[y1:y2, x1:x2])


def test_psnr_of_a_difference_of_one_level_is_48() -> None:
    a = np.zeros((4, 4, 3))
    assert psnr(a, a + 1) == pytest.approx(48.13, abs=0.01)
    assert psnr(a, a) == 100.0


def test_a_bare_light_blur_is_undone(astronaut: NDArray[np.uint8]) -> None:
    face = face_of(astronaut)
    blurred = gaussian(face, 25).astype(np.float64)
    best = restored(blurred, face.astype(np.float64), "blur", 25)
    assert psnr(best, face) > psnr(blurred, face) + 3


def test_without_blur_nothing_is_changed(astronaut: NDArray[np.uint8]) -> None:
    face = face_of(astronaut).astype(np.float64)
    assert psnr(wiener(face, 0.01)[-1], face) > 60


def test_blocks_are_smoothed_where_that_helps(astronaut: NDArray[np.uint8]) -> None:
    face = face_of(astronaut)
    blocks = pixelate(face, 12).astype(np.float64)
    best = restored(blocks, face.astype(np.float64), "pixelate", 12)
    assert psnr(best, face) > psnr(blocks, face) + 0.5


@pytest.mark.parametrize("method", ["gaussian", "elliptical", "pixelate"])
@pytest.mark.parametrize("strength", [1, 60, 199, 999])
def test_whatever_strength_is_asked_for_many_results_together_give_no_face(
    astronaut: NDArray[np.uint8], method: MaskMethod, strength: int
) -> None:
    face = face_of(astronaut).astype(np.float64)
    params = MaskParams(method, strength, padding=0.0)
    results = []
    for _ in range(8):
        pixels = astronaut.copy()
        hide_faces(pixels, np.array([FACE], np.float32), params)
        results.append(face_of(pixels))
    mean = np.mean(results, axis=0)
    kernel = max(strength, round(0.2 * 120 if method == "pixelate" else 0.99 * 120))
    hidden = blurred_throughout(mean, kernel) if method == "elliptical" else mean
    fill = "pixelate" if method == "pixelate" else "blur"
    best = restored(hidden, face, fill, kernel)
    inner = (slice(30, 100), slice(20, 76))  # where an ellipse hides as well
    assert psnr(best[inner], face[inner]) < 20
    assert psnr(best[inner], face[inner]) < psnr(mean[inner], face[inner]) + 2


def test_sigma_is_that_of_opencv() -> None:
    assert sigma_of(199) == pytest.approx(30.2)
