import numpy as np
import pytest

from models.training.anchors import assign, make_anchors


def test_a_cell_has_two_anchors_at_its_grid_point() -> None:
    anchors = make_anchors(64)
    assert len(anchors.centres) == 2 * (8 * 8 + 4 * 4 + 2 * 2)
    assert anchors.centres[:4].tolist() == [[0, 0], [0, 0], [8, 0], [8, 0]]
    assert anchors.boxes[:2].tolist() == [[-8, -8, 8, 8], [-16, -16, 16, 16]]
    assert [anchors.strides[level.start] for level in anchors.levels] == [8, 16, 32]


def test_a_face_the_size_of_an_anchor_chooses_it() -> None:
    anchors = make_anchors(128)
    face = np.array([[56, 56, 72, 72]], np.float32)  # 16 px around the grid point (64, 64)
    owner = assign(anchors, face)
    (exact,) = np.flatnonzero((anchors.boxes == face[0]).all(axis=1))
    assert owner[exact] == 0
    assert (anchors.strides[owner == 0] == 8).all()


def test_a_large_face_goes_to_the_coarsest_stride() -> None:
    anchors = make_anchors(256)
    owner = assign(anchors, np.array([[32, 32, 160, 160]], np.float32))
    assert set(anchors.strides[owner == 0]) == {32.0}


@pytest.mark.parametrize("x", [0.0, 3.9, 4.0, 61.0])
def test_a_face_between_the_grid_points_is_not_lost(x: float) -> None:
    owner = assign(make_anchors(64), np.array([[x, x, x + 3, x + 3]], np.float32))
    assert (owner == 0).any()


def test_an_anchor_of_two_faces_finds_the_one_it_covers_better() -> None:
    anchors = make_anchors(128)
    faces = np.array([[56, 56, 72, 72], [54, 54, 76, 76]], np.float32)
    owner = assign(anchors, faces)
    (exact,) = np.flatnonzero((anchors.boxes == faces[0]).all(axis=1))
    assert owner[exact] == 0
    assert assign(anchors, faces[::-1].copy())[exact] == 1


def test_without_faces_everything_is_background() -> None:
    assert (assign(make_anchors(64), np.zeros((0, 4), np.float32)) == -1).all()
