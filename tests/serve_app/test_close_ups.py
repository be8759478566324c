"""Faces that fill 40 to 95 % of the frame's height: `auto` finds each of them, `fast` by far not."""

import json
from pathlib import Path

import numpy as np
import pytest

from deployments.decoding.decode import decode, to_canvas
from deployments.decoding.raster import Raster
from models.resolve import ModelSource
from models.scrfd import Scrfd, ScrfdOptions
from models.types import Canvas, DetectParams, UInt8Array
from serve_app.evaluate import find
from tests.serve_app.test_photos import iou

pytestmark = pytest.mark.shared
LIMIT = 50_000_000
PORTRAITS = ("obama.jpg", "biden_tall.jpg", "portrait_grayscale.jpg", "astronaut.png")
SHARES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
Box = tuple[float, float, float, float]


@pytest.fixture(scope="module", params=["scrfd_500m", "scrfd_2.5g"])
def scrfd(
    request: pytest.FixtureRequest, shared_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Scrfd:
    folder = tmp_path_factory.mktemp("real")
    source = ModelSource(request.param, (shared_dir / "models",), folder)
    return Scrfd.load(ScrfdOptions(source, folder, "auto", 2))


def close_up(pixels: UInt8Array, box: Box, share: float) -> tuple[Canvas, list[float]] | None:
    """A square around a face that fills this share of its height, and where the face is; None: no room."""
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = box
    side = (y2 - y1) / share
    left, top = ((x1 + x2) - side) / 2, ((y1 + y2) - side) / 2
    left, top = (min(max(at, 0), most - side) for at, most in ((left, width), (top, height)))
    if left < 0 or top < 0:
        return None
    left, top, end, bottom = int(left), int(top), int(left + side), int(top + side)
    crop = np.ascontiguousarray(pixels[top:bottom, left:end])
    canvas = to_canvas(Raster(crop, end - left, bottom - top, 1, None))
    return canvas, [x1 - left, y1 - top, x2 - left, y2 - top]


def test_every_close_up_is_found_with_auto(scrfd: Scrfd, shared_dir: Path) -> None:
    photos = shared_dir / "data/photos"
    reference = json.loads((photos / "reference_detections.json").read_text())
    found, missed = {"fast": 0, "auto": 0}, []
    count = 0
    for name in PORTRAITS:
        picture = decode((photos / "real" / name).read_bytes(), max_pixels=LIMIT, keep_picture=True).picture
        assert picture is not None
        box = reference[f"real/{name}"][scrfd.name][0]["box"]
        for share in SHARES:
            made = close_up(picture.pixels[:, :, :3], box, share)
            if made is None:
                continue
            count += 1
            canvas, face = made
            for detail in ("fast", "auto"):
                boxes = find(scrfd, [canvas], DetectParams(detail=detail)).boxes.tolist()  # type: ignore[arg-type]
                is_found = max((iou(face, other) for other in boxes), default=0) > 0.4
                found[detail] += is_found
                if detail == "auto" and not is_found:
                    missed.append((name, share))
    assert missed == []
    assert count >= 20
    assert found["fast"] < count - 5
