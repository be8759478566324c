import numpy as np
import pytest

from models.boxes import areas, longer_sides, overlaps

SQUARE = np.array([[0, 0, 10, 10]], np.float32)


def test_iou_of_half_overlapping_boxes_is_one_third() -> None:
    b = np.array([[5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    shared, iou = overlaps(SQUARE, b)
    assert iou[0] == pytest.approx([1 / 3, 0])
    assert shared[0].tolist() == [50, 0]


def test_boxes_without_an_area_overlap_nothing_not_even_themselves() -> None:
    point = np.full((1, 4), 5, np.float32)
    assert overlaps(point, point)[1].tolist() == [[0]]
    assert overlaps(SQUARE, np.empty((0, 4), np.float32))[1].shape == (1, 0)


def test_sizes_of_boxes() -> None:
    boxes = np.array([[0, 0, 3, 4], [1, 1, 6, 2]], np.float32)
    assert areas(boxes).tolist() == [12, 5]
    assert longer_sides(boxes).tolist() == [4, 5]
    assert longer_sides(np.empty((0, 4), np.float32)).tolist() == []
