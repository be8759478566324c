import numpy as np
import pytest

from loadtests.recall import at_false_positives, at_threshold
from models.evaluation import LabelledImage, Predictions

LOW, HIGH, TINY, FAR = [0, 0, 20, 15], [50, 50, 80, 90], [100, 0, 104, 4], [200, 200, 230, 230]


def image(*faces: list[float], counted: list[int]) -> LabelledImage:
    levels = {level: np.array(counted, np.int64) for level in ("easy", "medium", "hard")}
    return LabelledImage("x", np.array(faces, np.float64).reshape(-1, 4), levels)


def found(*faces: tuple[list[float], float]) -> Predictions:
    boxes = np.array([box for box, _ in faces], np.float32).reshape(-1, 4)
    return Predictions(boxes, np.array([score for _, score in faces], np.float32))


IMAGES = [image(LOW, HIGH, TINY, counted=[0, 1]), image(counted=[])]
FOUND = [found((FAR, 0.9), (HIGH, 0.8), (TINY, 0.7), (LOW, 0.3)), found((FAR, 0.5))]


@pytest.mark.parametrize(
    ("height", "most", "recall", "false_positives"),
    [(10, 0.4, 0.0, 0.0), (10, 0.5, 0.5, 0.5), (10, 1.0, 1.0, 1.0), (20, 0.5, 1.0, 0.5)],
)
def test_recall_is_that_of_the_lowest_threshold_the_false_positives_allow(
    height: int, most: float, recall: float, false_positives: float
) -> None:
    point = at_false_positives(IMAGES, FOUND, height, most)
    assert (point.recall, point.false_positives) == (recall, false_positives)


def test_at_a_threshold_what_is_under_it_is_neither_found_nor_wrong() -> None:
    point = at_threshold(IMAGES, FOUND, 10, 0.6)
    assert (point.recall, point.false_positives) == (0.5, 0.5)
