import numpy as np
import pytest

from models.training import samples
from models.training.anchors import make_anchors
from models.training.pictures import LabelledPicture
from models.training.samples import BACKGROUND, IGNORED, make_sample
from tests.models.training.conftest import draw

SIZE = 160


def picture(
    boxes: list[tuple[int, int, int, int]], ignored: list[list[float]] | None = None
) -> LabelledPicture:
    corners = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], np.float32).reshape(-1, 4)
    points = corners[:, [0, 1, 2, 1, 0, 3, 0, 3, 2, 3]].reshape(-1, 5, 2)  # at the corners of the box
    return LabelledPicture(draw(boxes), corners, np.array(ignored or [], np.float32).reshape(-1, 4), points)


PICTURES = [picture([(20, 30, 40, 40)]), picture([(70, 10, 30, 36), (10, 50, 24, 30)]), picture([])]


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_boxes_and_landmarks_follow_their_pixels(monkeypatch: pytest.MonkeyPatch, mosaic: float) -> None:
    monkeypatch.setattr(samples, "MOSAIC_SHARE", mosaic)
    monkeypatch.setattr(samples, "_recoloured", lambda pixels, rng: pixels)
    monkeypatch.setattr(samples, "_blurred", lambda pixels, rng: pixels)
    anchors, seen = make_anchors(SIZE), 0
    for seed in range(60):
        sample = make_sample(PICTURES, seed % 3, SIZE, anchors, np.random.default_rng(seed))
        assert sample.pixels.shape == (SIZE, SIZE, 3)
        for (x1, y1, x2, y2), points in zip(sample.faces, sample.landmarks, strict=True):
            inner = sample.pixels[int(y1) + 2 : int(y2) - 1, int(x1) + 2 : int(x2) - 1]
            assert inner.size == 0 or inner.min() > 200  # the face is white
            left_eye, right_eye = points[:2]
            assert left_eye[0] < right_eye[0]  # also in a mirrored picture
            seen += 1
    assert seen > 40


def test_a_sample_depends_on_its_seed_alone() -> None:
    anchors = make_anchors(SIZE)
    first, second = (make_sample(PICTURES, 1, SIZE, anchors, np.random.default_rng(9)) for _ in range(2))
    other = make_sample(PICTURES, 1, SIZE, anchors, np.random.default_rng(10))
    assert (first.pixels == second.pixels).all()
    assert (first.owner == second.owner).all()
    assert first.pixels.shape == other.pixels.shape
    assert (first.pixels != other.pixels).any()


def test_every_face_is_somebodys(monkeypatch: pytest.MonkeyPatch) -> None:
    anchors = make_anchors(SIZE)
    for seed in range(30):
        sample = make_sample(PICTURES, seed % 3, SIZE, anchors, np.random.default_rng(seed))
        assert set(np.unique(sample.owner)) - {BACKGROUND, IGNORED} == set(range(len(sample.faces)))


def test_faces_too_small_to_learn_are_not_background(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MOSAIC_SHARE", 0.0)
    monkeypatch.setattr(samples, "CROP_SCALES", (2.0,))
    anchors = make_anchors(SIZE)
    sample = make_sample([picture([(60, 40, 4, 4)])], 0, SIZE, anchors, np.random.default_rng(0))
    assert len(sample.faces) == 0
    assert (sample.owner == IGNORED).any()


def test_regions_to_ignore_are_not_background(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MOSAIC_SHARE", 0.0)
    monkeypatch.setattr(samples, "CROP_SCALES", (1.0,))
    anchors = make_anchors(SIZE)
    whole = picture([(20, 30, 40, 40)], ignored=[[-500, -500, 900, 900]])
    sample = make_sample([whole], 0, SIZE, anchors, np.random.default_rng(0))
    assert set(np.unique(sample.owner)) == {IGNORED, 0}
