from pathlib import Path

import numpy as np
import pytest

from models.resolve import ModelSource
from models.scrfd import Scrfd, ScrfdOptions
from models.session import Provider
from models.types import Detections, DetectParams
from tests.models.conftest import canvas_of
from tests.tiny_scrfd import red_block_picture, write_tiny_scrfd


def load(folder: Path, provider: Provider, *, landmarks: bool = True) -> Scrfd:
    weights = write_tiny_scrfd(folder / "tiny.onnx", landmarks=landmarks)
    return Scrfd.load(ScrfdOptions(ModelSource(str(weights), (), folder), folder / "p", provider, 1, "fp32"))


def test_the_square_is_for_onnx_runtime_and_rectangles_are_for_openvino(tmp_path: Path) -> None:
    canvases = [canvas_of(np.zeros((h, w, 3), np.uint8)) for h, w in ((360, 640), (640, 427), (1, 640))]
    shapes = [load(tmp_path, "openvino").blob_shape(canvas) for canvas in canvases]
    assert shapes == [(384, 640), (640, 448), (256, 640)]
    reference = load(tmp_path, "cpu")
    assert {reference.blob_shape(canvas) for canvas in canvases} == {(640, 640)}


@pytest.mark.parametrize("size", [(360, 640), (640, 480), (640, 640), (33, 640)])
def test_both_engines_find_the_same(tmp_path: Path, size: tuple[int, int]) -> None:
    picture = red_block_picture(*size, {(1, 0): 255, (8, 9): 220, (14, 17): 180})
    found: list[Detections] = []
    for provider in ("cpu", "openvino"):
        found.append(load(tmp_path, provider).detect(canvas_of(picture), DetectParams(0.3)))  # type: ignore[arg-type]
    assert len(found[0].boxes) >= 1
    np.testing.assert_allclose(found[1].boxes, found[0].boxes, atol=1e-3)
    np.testing.assert_allclose(found[1].scores, found[0].scores, atol=1e-5)
    np.testing.assert_allclose(found[1].landmarks, found[0].landmarks, atol=1e-3)  # type: ignore[arg-type]


def test_a_model_without_landmarks_has_none_on_openvino(tmp_path: Path) -> None:
    scrfd = load(tmp_path, "openvino", landmarks=False)
    assert not scrfd.supports_landmarks
    found = scrfd.detect(canvas_of(red_block_picture(360, 640, {(1, 0): 255})), DetectParams())
    assert found.landmarks is None
    assert len(found.boxes) == 1


def test_common_shapes_are_ready_before_the_first_picture(tmp_path: Path) -> None:
    scrfd = load(tmp_path, "openvino")
    scrfd.make_common_ready()
    ready = set(scrfd._session._ready)  # type: ignore[attr-defined]
    whole = {(384, 640), (448, 640), (480, 640), (640, 640), (640, 480), (640, 448), (640, 384)}
    assert ready == whole | {(256, 320), (320, 320), (320, 256)}
