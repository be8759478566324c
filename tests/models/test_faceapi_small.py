"""The weights that come with the code find faces, on every machine and without anything from elsewhere."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.pipeline import LocalPipeline
from deployments.types import MaskParams
from models.activation_ranges import find_ranges
from models.graph import prepare
from models.manifest import OWN_MODEL, OWN_WEIGHTS
from models.resolve import ModelSource
from models.scrfd import Scrfd, ScrfdOptions
from models.types import DetectParams

ASTRONAUT = (175, 62, 275, 178)
"""x1, y1, x2, y2 of her face, by eye."""


@pytest.fixture(scope="module")
def scrfd(tmp_path_factory: pytest.TempPathFactory) -> Scrfd:
    source = ModelSource(OWN_MODEL, (), Path("missing"))
    return Scrfd.load(ScrfdOptions(source, tmp_path_factory.mktemp("prepared")))


@pytest.fixture(scope="module")
def pipeline(scrfd: Scrfd) -> LocalPipeline:
    return LocalPipeline(scrfd, 50_000_000)


def jpeg(image: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return data.tobytes()


def iou(a: NDArray[np.float32], b: tuple[int, int, int, int]) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = np.prod(np.clip(high - low, 0, None))
    areas = np.prod(a[2:] - a[:2]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(common / (areas - common))


async def test_it_finds_the_astronaut_and_no_other_face(
    pipeline: LocalPipeline, astronaut: NDArray[np.uint8]
) -> None:
    analysed = await pipeline.detect(jpeg(astronaut), DetectParams(), 30)
    detections = analysed.inferred.detections
    assert len(detections.boxes) == 1
    assert iou(detections.boxes[0], ASTRONAUT) > 0.6
    assert detections.landmarks is None


async def test_its_masks_leave_nothing_to_find(pipeline: LocalPipeline, astronaut: NDArray[np.uint8]) -> None:
    masked = await pipeline.mask(jpeg(astronaut), DetectParams(), MaskParams(), 30)
    assert masked.masked.regions_masked == 1
    again = await pipeline.detect(masked.masked.data, DetectParams(), 30)
    assert len(again.inferred.detections.boxes) == 0


async def test_it_finds_faces_of_several_sizes(pipeline: LocalPipeline, astronaut: NDArray[np.uint8]) -> None:
    face = astronaut[20:260, 100:340]
    for side in (60, 120, 240, 400):  # her face is 40 % of it
        canvas = np.full((640, 640, 3), 90, np.uint8)
        canvas[100 : 100 + side, 120 : 120 + side] = cv2.resize(
            face, (side, side), interpolation=cv2.INTER_AREA
        )
        found = await pipeline.detect(jpeg(canvas), DetectParams(), 30)
        assert len(found.inferred.detections.boxes) == 1, side


def test_its_activation_ranges_are_those_of_these_weights(tmp_path: Path) -> None:
    assert find_ranges(prepare(OWN_WEIGHTS, tmp_path, "0" * 64), [])
