import numpy as np
import pytest

from models.evaluation import LabelledImage, Predictions, average_precision


def image(faces: list[list[float]], counted: list[int]) -> LabelledImage:
    levels = {level: np.array(counted, np.int64) for level in ("easy", "medium", "hard")}
    return LabelledImage("x", np.array(faces, np.float64).reshape(-1, 4), levels)


def found(*faces: tuple[list[float], float]) -> Predictions:
    return Predictions(
        np.array([box for box, _ in faces], np.float32).reshape(-1, 4),
        np.array([score for _, score in faces], np.float32),
    )


A, B, FAR = [0.0, 0.0, 20.0, 20.0], [50.0, 50.0, 80.0, 80.0], [200.0, 200.0, 230.0, 230.0]


def test_perfect_predictions_have_an_ap_of_one() -> None:
    ap = average_precision([image([A, B], [0, 1])], [found((A, 0.9), (B, 0.1))])
    assert ap["easy"] == pytest.approx(1.0)


def test_a_better_scored_false_alarm_halves_the_precision() -> None:
    ap = average_precision([image([A], [0])], [found((FAR, 0.9), (A, 0.5), (FAR, 0.1))])
    assert ap["hard"] == pytest.approx(0.5)


def test_a_missed_face_costs_its_recall() -> None:
    ap = average_precision([image([A, B], [0, 1])], [found((A, 0.9), (FAR, 0.1))])
    assert ap["medium"] == pytest.approx(0.5)


def test_finding_an_ignored_face_is_neither_hit_nor_false_alarm() -> None:
    ap = average_precision([image([A, B], [0])], [found((B, 0.9), (A, 0.5), (FAR, 0.1))])
    assert ap["easy"] == pytest.approx(1.0)


def test_a_second_box_on_a_face_is_no_second_hit() -> None:
    ap = average_precision([image([A, B], [0, 1])], [found((A, 0.9), (A, 0.8), (B, 0.1))])
    assert ap["easy"] == pytest.approx(0.5 + 0.5 * 2 / 3)
