import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from loadtests.films import _flashes, film, judge, scenes
from tests.deployments.video.clips import decoded, write_clip

FACE = [170, 65, 110, 150]


@pytest.fixture
def dataset(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    Image.fromarray(astronaut).save(folder / "images" / "a.png")
    label = {"file": "a.png", "boxes_xywh": [FACE], "easy_idx": [0], "medium_idx": [0], "hard_idx": [0]}
    (folder / "ground_truth.json").write_text(json.dumps([label]))
    return folder


def test_labels_follow_the_camera_and_a_verdict_tells_hidden_from_visible(
    dataset: Path, tmp_path: Path
) -> None:
    shots = scenes(dataset, 1, 0.4, 20)
    source = tmp_path / "source.mp4"
    truth = film(shots, source)
    frames = decoded(source)
    untouched = judge("none", (1.0, 1.0), source, source, truth, [10], 20)
    assert untouched.visible == untouched.faces > 0
    for frame, boxes in zip(frames, truth, strict=True):
        x1, y1, x2, y2 = (max(0, round(v)) for v in boxes[0])
        frame[y1:y2, x1:x2] = 0
    target = write_clip(tmp_path / "masked.mp4", frames)
    masked = judge("black boxes", (1.0, 1.0), source, target, truth, [10], 20)
    assert (masked.visible, masked.frames_with_visible, masked.flashes) == (0, 0, 0)
    assert masked.outside < 0.01
    black = write_clip(tmp_path / "black.mp4", [frame * 0 for frame in frames])
    assert judge("all black", (1.0, 1.0), source, black, truth, [10], 20).outside > 0.9


def test_a_flash_is_a_face_that_is_visible_for_a_moment_between_hidden_frames() -> None:
    assert _flashes([False, True, True, False, None, False, True]) == 1
    assert _flashes([True, True, False, False]) == 0
    assert _flashes([False] + [True] * 30 + [False]) == 0
