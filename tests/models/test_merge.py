"""Boxes are made by hand: x1, y1, x2, y2 in pixels of a picture of 1200 x 600."""

import numpy as np
import pytest

from models.merge import Pass, lowest, merge
from models.types import Detections, DetectParams, Float32Array, PassKind, Tile

WIDTH, HEIGHT = 1200, 600
LEFT = Tile(0, 0, 640, 600, WIDTH, HEIGHT)
RIGHT = Tile(560, 0, 640, 600, WIDTH, HEIGHT)
Face = tuple[float, float, float, float, float]  # box and score


def one_pass(kind: PassKind, *faces: Face, tile: Tile | None = None) -> Pass:
    rows = np.array(faces, np.float32).reshape(-1, 5)
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    landmarks = np.repeat(rows[:, None, :2], 5, axis=1)  # tells whose they are
    return Pass(kind, tile, Detections(rows[:, :4], rows[:, 4], landmarks, len(rows), 0.0, 0.0))


def boxes(*passes: Pass, **params: object) -> Float32Array:
    return merge(passes, DetectParams(**params), WIDTH, HEIGHT).detections.boxes  # type: ignore[arg-type]


def test_a_face_of_several_passes_is_one_and_scores_higher_than_in_each() -> None:
    passes = (
        one_pass("whole", (100, 100, 140, 140, 0.6)),
        one_pass("tile", (102, 100, 142, 140, 0.9), (300, 100, 310, 112, 0.7), tile=LEFT),
        one_pass("tile", tile=RIGHT),
    )
    merged = merge(passes, DetectParams(), WIDTH, HEIGHT)
    found = merged.detections
    assert found.boxes.tolist() == [[102, 100, 142, 140], [300, 100, 310, 112]]
    assert found.scores.tolist() == pytest.approx([0.9 + 0.3 * 0.6 * 0.1, 0.7])
    assert found.landmarks is not None
    assert found.landmarks[:, 0].tolist() == [[102, 100], [300, 100]]
    assert merged.added == (1, 1, 0)


def test_a_face_on_a_tiles_border_is_found_once_and_whole_although_its_part_scores_higher() -> None:
    passes = (
        one_pass("whole"),
        one_pass("tile", (600, 50, 639, 90, 0.95), tile=LEFT),
        one_pass("tile", (600, 50, 680, 150, 0.6), tile=RIGHT),
    )
    found = merge(passes, DetectParams(), WIDTH, HEIGHT).detections
    assert found.boxes.tolist() == [[600, 50, 680, 150]]
    assert found.scores.tolist() == pytest.approx([0.95])


def test_two_looks_that_are_unsure_of_one_face_can_make_it_sure() -> None:
    face = (200, 50, 240, 90, 0.45)
    seen_twice = (one_pass("whole", face), one_pass("tile", face, tile=LEFT), one_pass("tile", tile=RIGHT))
    assert len(boxes(*seen_twice)) == 1
    assert len(boxes(seen_twice[0], one_pass("tile", tile=LEFT), one_pass("tile", tile=RIGHT))) == 0
    assert lowest(0.5) < 0.45


def test_two_tiles_that_see_one_face_are_no_agreement() -> None:
    face = (580, 50, 620, 90, 0.6)
    passes = (one_pass("whole"), one_pass("tile", face, tile=LEFT), one_pass("tile", face, tile=RIGHT))
    assert merge(passes, DetectParams(), WIDTH, HEIGHT).detections.scores.tolist() == pytest.approx([0.6])


def test_a_weak_box_takes_no_part_of_a_sure_face_away() -> None:
    passes = (
        one_pass("whole", (500, 0, 700, 200, 0.2)),
        one_pass("tile", (600, 50, 640, 90, 0.9), tile=LEFT),
        one_pass("tile", tile=RIGHT),
    )
    found = merge(passes, DetectParams(uncertain="mask"), WIDTH, HEIGHT).detections
    assert found.scores.tolist() == pytest.approx([0.9, 0.2])


def test_a_part_that_no_whole_face_replaces_stays() -> None:
    part = (600, 50, 640, 90, 0.6)
    passes = (
        one_pass("whole", (0, 0, 50, 50, 0.9)),
        one_pass("tile", part, tile=LEFT),
        one_pass("tile", tile=RIGHT),
    )
    assert boxes(*passes).tolist() == [[0, 0, 50, 50], [600, 50, 640, 90]]


def test_a_box_at_the_end_of_the_picture_is_no_part() -> None:
    small, large = (0, 0, 30, 30, 0.9), (0, 0, 80, 80, 0.6)
    passes = (one_pass("whole", large), one_pass("tile", small, tile=LEFT), one_pass("tile", tile=RIGHT))
    assert len(boxes(*passes)) == 2


def test_a_small_face_before_a_large_one_stays() -> None:
    passes = (
        one_pass("whole", (100, 100, 400, 400, 0.9)),
        one_pass("tile", (200, 200, 240, 240, 0.8), tile=LEFT),
        one_pass("tile", tile=RIGHT),
    )
    assert len(boxes(*passes)) == 2


def test_of_the_half_only_large_boxes_count() -> None:
    passes = (
        one_pass("whole", (100, 100, 500, 500, 0.3)),
        one_pass("half", (100, 100, 510, 510, 0.8), (700, 100, 740, 140, 0.9)),
    )
    assert boxes(*passes).tolist() == [[100, 100, 510, 510]]


def test_the_requests_own_thresholds_hold_for_the_merged_faces() -> None:
    passes = (
        one_pass("whole", (0, 0, 40, 40, 0.9), (100, 0, 140, 40, 0.3), (200, 0, 240, 40, 0.1)),
        one_pass("tile", (10, 0, 50, 40, 0.8), tile=LEFT),
        one_pass("tile", tile=RIGHT),
    )
    assert len(boxes(*passes)) == 1
    assert len(boxes(*passes, nms_threshold=0.7)) == 2
    assert len(boxes(*passes, uncertain="mask", mask_confidence=0.2)) == 2
    assert len(boxes(*passes, nms_threshold=0.7, max_faces=1)) == 1


def test_many_boxes_are_merged_like_few() -> None:
    """More than are compared at once, and more than OpenCV's loop is for."""
    columns, rows = np.meshgrid(np.arange(0, 1180, 20), np.arange(0, 580, 20))
    corners = np.stack([columns.ravel(), rows.ravel()], axis=1)
    faces = np.concatenate([corners, corners + 16, np.full((len(corners), 1), 0.8)], axis=1)
    shifted = faces + np.array([1, 1, 1, 1, 0.1])
    left, right = shifted[shifted[:, 2] < 630], shifted[shifted[:, 0] > 570]
    passes = (
        one_pass("whole", *map(tuple, faces)),
        one_pass("tile", *map(tuple, left), tile=LEFT),
        one_pass("tile", *map(tuple, right), tile=RIGHT),
    )
    merged = merge(passes, DetectParams(), WIDTH, HEIGHT)
    assert len(merged.detections.boxes) == len(faces)
    assert merged.detections.scores.tolist() == pytest.approx([0.9 + 0.3 * 0.8 * 0.1] * len(faces))
    assert merged.added == (len(faces), 0, 0)


def test_a_model_without_landmarks_has_none_when_merged() -> None:
    rows = np.array([[0, 0, 40, 40]], np.float32)
    found = Detections(rows, np.array([0.9], np.float32), None, 1, 0.0, 0.0)
    assert merge([Pass("whole", None, found)], DetectParams(), WIDTH, HEIGHT).detections.landmarks is None
