import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from deployments.deadline import Deadline
from deployments.detection.batch import BatchItem, infer_batch
from deployments.errors import DeadlineExceededError
from deployments.types import Inferred
from models.errors import InferenceError
from models.raw_faces import RawFaces
from models.resolve import ModelSource
from models.scrfd import Scrfd, ScrfdOptions
from models.types import Canvas, DetectParams, UInt8Array
from tests.tiny_scrfd import CELL, red_block_picture, write_tiny_scrfd

SIZES = ((360, 640), (640, 480), (360, 640), (640, 640), (384, 640))


@pytest.fixture
def scrfd(tmp_path: Path) -> Scrfd:
    weights = write_tiny_scrfd(tmp_path / "tiny.onnx")
    source = ModelSource(str(weights), (), tmp_path)
    return Scrfd.load(ScrfdOptions(source, tmp_path / "prepared", "openvino", 1, "fp32"))


def item(size: tuple[int, int], column: int, seconds: float = 60.0) -> BatchItem:
    """A picture whose only box lies in that column."""
    pixels = red_block_picture(*size, {(column, 1): 255})
    canvas = Canvas(pixels, size[1], size[0], 1.0)
    return BatchItem(canvas, DetectParams(), Deadline.after(seconds), time.perf_counter())


def test_shapes_run_apart_and_answers_keep_their_order(scrfd: Scrfd) -> None:
    items = [item(size, column) for column, size in enumerate(SIZES)]
    answers = infer_batch(scrfd, items)
    for column, (answer, asked) in enumerate(zip(answers, items, strict=True)):
        assert isinstance(answer, Inferred)
        assert answer.detections.boxes[:, 0].tolist() == [column * CELL]
        (alone,) = infer_batch(scrfd, [asked])
        assert isinstance(alone, Inferred)
        np.testing.assert_array_equal(answer.detections.boxes, alone.detections.boxes)
        np.testing.assert_array_equal(answer.detections.scores, alone.detections.scores)
    assert [a.batch_size for a in answers if isinstance(a, Inferred)] == [3, 1, 3, 1, 3]


def test_a_request_that_is_too_late_is_answered_in_its_place(scrfd: Scrfd) -> None:
    answers = infer_batch(scrfd, [item(SIZES[0], 0), item(SIZES[0], 1, seconds=-1), item(SIZES[1], 2)])
    assert isinstance(answers[1], DeadlineExceededError)
    assert [isinstance(answer, Inferred) for answer in answers] == [True, False, True]


def test_a_failing_shape_leaves_the_other_shapes_alone(scrfd: Scrfd, monkeypatch: pytest.MonkeyPatch) -> None:
    works = scrfd.infer

    def infer(blob: UInt8Array, *, is_alone: bool) -> Sequence[RawFaces]:
        if blob.shape[1:3] == (640, 480):
            raise InferenceError("broken")
        return works(blob, is_alone=is_alone)

    monkeypatch.setattr(scrfd, "infer", infer)
    answers = infer_batch(scrfd, [item(size, column) for column, size in enumerate(SIZES)])
    assert [isinstance(answer, InferenceError) for answer in answers] == [False, True, False, False, False]
