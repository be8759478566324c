"""The tiny stand-in, prepared, and ranges measured for it."""

from pathlib import Path

import numpy as np
import pytest

from models.activation_ranges import Ranges
from models.calibrate import Calibrator
from models.graph import prepare
from models.types import Canvas, UInt8Array
from tests.tiny_scrfd import red_block_picture, write_tiny_scrfd


def canvas_of(pixels: UInt8Array) -> Canvas:
    return Canvas(pixels, pixels.shape[1], pixels.shape[0], 1.0)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    return prepare(write_tiny_scrfd(tmp_path / "tiny.onnx"), tmp_path / "prepared", "abc")


@pytest.fixture
def measured(prepared: Path) -> Ranges:
    calibrator = Calibrator(prepared, 1)
    for level in (255, 130):
        calibrator.add(canvas_of(red_block_picture(360, 640, {(2, 3): level})))
    calibrator.add(canvas_of(np.full((640, 400, 3), 255, np.uint8)))
    return calibrator.ranges("tiny")
