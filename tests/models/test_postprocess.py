import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.errors import InferenceError
from models.postprocess import nms, postprocess
from models.raw_faces import STRIDES, HeadOutputs
from models.types import Canvas, Detections, DetectParams, Float32Array

ANCHORS = {stride: 2 * (640 // stride) ** 2 for stride in STRIDES}


def canvas(width: int = 1280, height: int = 640) -> Canvas:
    scale = min(640 / width, 640 / height)
    pixels = np.zeros((round(height * scale), round(width * scale), 3), np.uint8)
    return Canvas(pixels, width, height, scale)


def outputs(
    faces: list[tuple[int, int, int, float]],
) -> tuple[list[Float32Array], list[Float32Array], list[Float32Array]]:
    """Raw outputs with a box of +-2 strides around cell (row, column) of the stride with that index."""
    scores = [np.zeros((ANCHORS[s], 1), np.float32) for s in STRIDES]
    boxes = [np.full((ANCHORS[s], 4), 2, np.float32) for s in STRIDES]
    points = [np.zeros((ANCHORS[s], 10), np.float32) for s in STRIDES]
    for index, row, column, score in faces:
        scores[index][2 * (row * (640 // STRIDES[index]) + column)] = score
    return scores, boxes, points


def raw(*kinds: list[Float32Array]) -> HeadOutputs:
    return HeadOutputs([part for kind in kinds for part in kind])


def find(faces: list[tuple[int, int, int, float]], **params: float) -> Detections:
    return postprocess(raw(*outputs(faces)), canvas(), DetectParams(**params))  # type: ignore[arg-type]


def test_a_box_is_decoded_at_grid_index_times_stride_and_mapped_back() -> None:
    found = find([(0, 10, 20, 0.9)])  # centre (160, 80), +-16 canvas pixels, at half size
    assert found.boxes.tolist() == [[288, 128, 352, 192]]
    assert found.landmarks is not None
    assert found.landmarks[0].tolist() == [[320, 160]] * 5


def test_boxes_are_clipped_sorted_and_limited_to_the_best() -> None:
    faces = [(2, 0, 0, 0.6), (0, 10, 20, 0.9), (1, 5, 30, 0.7)]
    found = find(faces)
    assert found.scores.tolist() == pytest.approx([0.9, 0.7, 0.6])
    assert found.boxes[2].tolist() == [0, 0, 128, 128]
    assert find(faces, max_faces=1).scores.tolist() == pytest.approx([0.9])


def test_the_threshold_is_inclusive_and_the_requests_own() -> None:
    score = float(np.float32(0.5))
    assert len(find([(0, 10, 20, score)], confidence=0.5).boxes) == 1
    assert len(find([(0, 10, 20, score)], confidence=0.51).boxes) == 0


def test_a_face_in_the_padding_is_dropped() -> None:
    assert len(find([(0, 60, 20, 0.9)]).boxes) == 0


def test_numbers_that_are_not_finite_are_an_error() -> None:
    scores, boxes, points = outputs([(0, 10, 20, 0.9)])
    boxes[0][:] = np.inf
    with pytest.raises(InferenceError):
        postprocess(raw(scores, boxes, points), canvas(), DetectParams())
    scores[1][3] = np.nan
    with pytest.raises(InferenceError):
        postprocess(raw(scores, outputs([])[1], points), canvas(), DetectParams())


def test_a_model_without_landmarks_has_none() -> None:
    scores, boxes, _ = outputs([(0, 10, 20, 0.9)])
    assert postprocess(raw(scores, boxes), canvas(), DetectParams()).landmarks is None


def greedy(boxes: NDArray[np.float32], threshold: float) -> list[int]:
    """The textbook loop."""
    kept: list[int] = []
    for i, a in enumerate(boxes):
        for j in kept:
            b = boxes[j]
            width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
            height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
            if width * height / max(union, 1e-9) > threshold:
                break
        else:
            kept.append(i)
    return kept


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1, 7, 300, 900]),
    st.sampled_from([40, 700]),
    st.sampled_from([0.1, 0.41, 0.7, 1.0]),
)
def test_nms_equals_the_textbook_loop(seed: int, count: int, spread: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-30, spread, (count, 2))
    sides = rng.uniform(1, 60, (count, 2)) * rng.choice([1, 8], (count, 1), p=[0.95, 0.05])
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    assert nms(boxes, threshold).tolist() == greedy(boxes, threshold)


def test_half_overlapping_boxes_have_an_iou_of_one_third() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10]], np.float32)
    assert nms(boxes, 0.34).tolist() == [0, 1]
    assert nms(boxes, 0.33).tolist() == [0]


def test_more_overlaps_than_can_be_listed_are_still_suppressed() -> None:
    boxes = np.tile(np.array([[0, 0, 600, 600]], np.float32), (16_800, 1))
    assert nms(boxes, 0.4).tolist() == [0]


def test_every_anchor_over_the_threshold_is_still_bounded() -> None:
    scores, boxes, points = outputs([])
    for part in scores:
        part[:] = 0.5
    found = postprocess(raw(scores, boxes, points), canvas(640, 640), DetectParams(0.01, 1.0))
    assert found.candidates == sum(ANCHORS.values())
    assert len(found.boxes) > 8000


def test_anchors_are_those_of_the_grid_that_was_run() -> None:
    scores = [np.zeros((2 * (384 // s) * (640 // s), 1), np.float32) for s in STRIDES]
    boxes = [np.full((len(part), 4), 2, np.float32) for part in scores]
    scores[0][2 * (47 * 80 + 79)] = 0.9  # the last cell of 48 rows and 80 columns
    found = postprocess(raw(scores, boxes), canvas(640, 384), DetectParams(), (384, 640))
    assert found.boxes.tolist() == [[616, 360, 640, 384]]
