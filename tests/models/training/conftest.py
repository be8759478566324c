import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="the extra `train` is not installed: pip install '.[train]'")


def draw(boxes: list[tuple[int, int, int, int]], height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """A black picture with a white rectangle x, y, w, h for each face."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for x, y, w, h in boxes:
        pixels[y : y + h, x : x + w] = 255
    return pixels


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A folder of 20 labelled pictures, two of them without a face."""
    folder, rng, entries = tmp_path / "data", np.random.default_rng(5), []
    (folder / "images").mkdir(parents=True)
    for number in range(20):
        boxes = [
            (int(rng.integers(0, 90)), int(rng.integers(0, 60)), int(rng.integers(12, 36)), 30)
            for _ in range(0 if number < 2 else 1 + number % 3)
        ]
        name = f"images/{number}.png"
        cv2.imwrite(str(folder / name), draw(boxes))
        entries.append({"file": name, "boxes_xywh": boxes, "landmarks": None})
    (folder / "labels.json").write_text(json.dumps(entries))
    return folder
