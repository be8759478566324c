import numpy as np
import pytest

from models.errors import InferenceError
from models.raw_faces import BestAnchors, HeadOutputs


def best(scores: list[float], anchors: list[int], box: float = 1.0) -> BestAnchors:
    count = len(scores)
    return BestAnchors(
        np.array(scores, np.float32), np.array(anchors, np.int64), np.full((count, 4), box, np.float32), None
    )


def test_candidates_come_by_rising_anchor_whoever_gives_them() -> None:
    found = best([0.9, 0.8, 0.3, 0.7], [40, 7, 3, 9]).candidates(0.5)
    assert found.anchors.tolist() == [7, 9, 40]
    assert found.scores.tolist() == pytest.approx([0.8, 0.7, 0.9])

    scores = [
        np.array([[0.1], [0.6]], np.float32),
        np.array([[0.7]], np.float32),
        np.array([[0.2]], np.float32),
    ]
    boxes = [np.full((len(part), 4), index, np.float32) for index, part in enumerate(scores)]
    found = HeadOutputs([*scores, *boxes]).candidates(0.5)
    assert found.anchors.tolist() == [1, 2]
    assert found.boxes[:, 0].tolist() == [0, 1]
    assert found.landmarks is None


@pytest.mark.parametrize("score", [2.0, float("nan")])
def test_a_score_that_was_no_number_is_an_error_below_any_threshold(score: float) -> None:
    with pytest.raises(InferenceError, match="not numbers"):
        best([score, 0.1], [0, 1]).candidates(0.99)


def test_difference_compares_anchors_that_both_let_through() -> None:
    one = best([0.5, 0.1, 0.2], [0, 1, 9])
    assert one.difference(best([0.2, 0.5, 0.1], [9, 0, 2])) == 0
    assert one.difference(best([0.5, 0.1, 0.2], [1, 0, 9])) == pytest.approx(1)
    assert one.difference(best([0.5, 0.1, 0.2], [0, 1, 9], box=3.0)) == pytest.approx(2 / 3)
    assert one.difference(best([0.5, 0.1, 0.9], [0, 1, 2])) == pytest.approx(1, abs=1e-4)


def test_answers_of_different_forms_or_without_numbers_never_match() -> None:
    one = best([0.5], [0])
    heads = HeadOutputs([np.zeros((1, 1), np.float32)])
    assert one.difference(heads) == heads.difference(one) == float("inf")
    assert one.difference(best([0.5], [1])) == float("inf")
    assert not one.difference(best([0.5], [0], box=float("nan"))) <= 1
    for score in (float("nan"), 2.0):
        assert not one.difference(best([score], [0])) <= 1
        assert not best([score], [0]).difference(best([score], [0])) <= 1
