import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import ChoiceError, MaskingError
from deployments.masking.choice import check_regions, chosen_faces
from deployments.types import EVERY_FACE, FaceChoice

FACES = np.array([[0, 0, 50, 60], [100, 100, 108, 120], [200, 0, 300, 90]], np.float32)


def rows(choice: FaceChoice) -> list[int]:
    return [int(np.flatnonzero((box == FACES).all(axis=1))[0]) for box in chosen_faces(FACES, choice)]


def test_every_face_is_hidden_unless_a_client_says_otherwise() -> None:
    assert rows(EVERY_FACE) == [0, 1, 2]


def test_faces_are_chosen_by_index_and_size() -> None:
    assert rows(FaceChoice(skip=(1,), face_count=3)) == [0, 2]
    assert rows(FaceChoice(only=(2, 2, 0), face_count=3)) == [0, 2]
    assert rows(FaceChoice(only=(), face_count=3)) == []
    assert rows(FaceChoice(min_face=20)) == [0, 1, 2]
    assert rows(FaceChoice(min_face=21)) == [0, 2]
    assert rows(FaceChoice(skip=(0,), face_count=3, min_face=61)) == [2]


def test_an_index_that_does_not_exist_is_refused() -> None:
    for choice in (FaceChoice(skip=(3,), face_count=3), FaceChoice(only=(0, 3), face_count=3)):
        with pytest.raises(ChoiceError, match="no face 3"):
            chosen_faces(FACES, choice)


def test_another_number_of_faces_than_was_chosen_from_is_refused() -> None:
    for count in (2, 4):
        with pytest.raises(ChoiceError, match="detect again"):
            chosen_faces(FACES, FaceChoice(skip=(0,), face_count=count))


def test_boxes_that_are_no_numbers_are_an_error_and_not_too_small() -> None:
    for wrong in (FACES * np.float32(np.nan), FACES[:, :3], FACES.reshape(-1)):
        with pytest.raises(MaskingError):
            chosen_faces(wrong, FaceChoice(min_face=20))


@given(
    skip=st.lists(st.integers(0, 2), max_size=4),
    only=st.none() | st.lists(st.integers(0, 2), max_size=4),
    min_face=st.integers(0, 120),
)
def test_a_face_is_left_only_if_the_client_named_it_or_its_size(
    skip: list[int], only: list[int] | None, min_face: int
) -> None:
    hidden = rows(FaceChoice(tuple(skip), None if only is None else tuple(only), 3, min_face))
    for index in set(range(3)) - set(hidden):
        side = (FACES[index, 2:] - FACES[index, :2]).max()
        assert index in skip or (only is not None and index not in only) or side < min_face


def test_a_region_outside_the_picture_is_refused_and_one_over_its_edge_is_not() -> None:
    check_regions(((90.0, 40.0, 100.0, 100.0),), 100, 50)
    for region in ((100.0, 0.0, 5.0, 5.0), (0.0, 50.0, 5.0, 5.0)):
        with pytest.raises(ChoiceError, match=r"regions\[1\] lies outside the picture, which is 100x50"):
            check_regions(((0.0, 0.0, 1.0, 1.0), region), 100, 50)


def test_regions_may_not_cover_a_picture_without_end() -> None:
    check_regions(((0.0, 0.0, 900.0, 900.0),) * 4, 100, 50)
    with pytest.raises(ChoiceError, match="4 times"):
        check_regions(((0.0, 0.0, 900.0, 900.0),) * 5, 100, 50)
