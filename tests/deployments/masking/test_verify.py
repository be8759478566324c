"""Looking again at what was masked: what is still found is hidden harder, or no picture leaves."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from deployments.errors import ResidualFacesError
from deployments.masking.mask import mask
from deployments.masking.verify import hide_until_unseen, left_faces, residual_faces, second_look
from deployments.types import FaceChoice, MaskParams, Picture
from models.types import DetectParams, Float32Array

FACE: Float32Array = np.array([[40, 40, 80, 90]], np.float32)
NONE: Float32Array = np.empty((0, 4), np.float32)


class Attempts:
    """Stages that find a face again so many times."""

    def __init__(self, seen: int) -> None:
        self.seen = seen
        self.made: list[MaskParams] = []

    async def hide(self, masking: MaskParams) -> int:
        self.made.append(masking)
        return len(self.made)

    async def look(self, attempt: int) -> Float32Array:
        return FACE if attempt <= self.seen else NONE


@pytest.mark.parametrize("seen", [0, 1, 2])
def test_what_is_found_again_is_hidden_larger_and_then_black(seen: int) -> None:
    attempts = Attempts(seen)
    verified = asyncio.run(hide_until_unseen(attempts.hide, attempts.look, MaskParams()))
    assert verified.masked == seen + 1
    assert verified.residual_faces == (1 if seen else 0)
    assert verified.masking == attempts.made[-1]
    assert [len(made.regions) for made in attempts.made] == [0, 1, 1][: seen + 1]
    assert [len(made.black) for made in attempts.made] == [0, 0, 1][: seen + 1]
    for x, y, width, height in attempts.made[-1].regions + attempts.made[-1].black:
        assert (x, y) < (40, 40)
        assert x + width > 80
        assert y + height > 90


def test_a_face_that_shows_through_everything_is_an_error() -> None:
    attempts = Attempts(3)
    with pytest.raises(ResidualFacesError, match="no picture"):
        asyncio.run(hide_until_unseen(attempts.hide, attempts.look, MaskParams()))
    assert len(attempts.made) == 3


def test_faces_left_on_demand_are_no_residue_but_others_beside_them_are() -> None:
    beside = FACE + np.array([60, 0, 60, 0], np.float32)
    found = np.concatenate([FACE + 1, beside])
    assert residual_faces(found, FACE, MaskParams()).tolist() == beside.tolist()
    assert len(residual_faces(found, NONE, MaskParams())) == 2
    assert len(residual_faces(NONE, FACE, MaskParams())) == 0
    small = replace(MaskParams(), choice=FaceChoice(min_face=60))
    assert len(residual_faces(found, NONE, small)) == 0


def test_what_was_left_is_what_was_found_and_not_hidden() -> None:
    found = np.concatenate([FACE, FACE + 100, FACE + 200])
    assert left_faces(found, found[1:2]).tolist() == found[[0, 2]].tolist()
    assert left_faces(found, NONE).tolist() == found.tolist()
    assert len(left_faces(NONE, NONE)) == 0


def test_the_second_look_is_for_every_face_and_rejects_nothing() -> None:
    params = DetectParams(confidence=0.5, max_faces=2, uncertain="reject")
    assert second_look(params) == DetectParams(confidence=0.5, max_faces=0, uncertain="ignore")
    assert second_look(replace(params, uncertain="mask")).uncertain == "mask"


def test_black_lies_over_everything_whatever_the_style() -> None:
    pixels = np.full((100, 100, 3), 200, np.uint8)
    params = MaskParams(method="elliptical", format="png", black=((10.0, 20.0, 30.0, 40.0),))
    masked = mask(Picture(pixels, None), FACE, params)
    assert masked.regions_masked == 2
    assert (pixels[20:60, 10:40] == 0).all()
    assert (pixels[10, 10] == 200).all()
