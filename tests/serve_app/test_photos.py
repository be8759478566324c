"""Real weights on real photos, in this process: what the service must find, and what must not leave it."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deployments.decoding.decode import decode
from deployments.masking.mask import mask
from deployments.types import MaskParams, OutputFormat
from models.resolve import ModelSource
from models.scrfd import Scrfd, ScrfdOptions
from models.types import DetectParams

pytestmark = pytest.mark.shared
LIMIT = 50_000_000


@pytest.fixture(scope="module", params=["scrfd_500m", "scrfd_2.5g"])
def scrfd(
    request: pytest.FixtureRequest, shared_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Scrfd:
    folder = tmp_path_factory.mktemp("real")
    source = ModelSource(request.param, (shared_dir / "models",), folder)
    return Scrfd.load(ScrfdOptions(source, folder, "cpu", 2))


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def test_every_photo_agrees_with_the_reference(scrfd: Scrfd, shared_dir: Path) -> None:
    folder = shared_dir / "data/photos"
    reference: Any = json.loads((folder / "reference_detections.json").read_text())
    compared = 0
    for name, facts in reference.items():
        faces = [(face["box"], face["score"]) for face in facts[scrfd.name]]
        for keep in (False, True):
            decoded = decode((folder / name).read_bytes(), max_pixels=LIMIT, keep_picture=keep)
            assert [decoded.info.width, decoded.info.height] == facts["size_after_exif"], name
            found = scrfd.detect(decoded.canvas, DetectParams())
            boxes = found.boxes.tolist()
            for box, score in faces:
                if score > 0.55:
                    assert max((iou(box, other) for other in boxes), default=0) >= 0.9, (name, box)
                    compared += 1
            for box, score in zip(boxes, found.scores, strict=True):
                if score > 0.55:
                    assert max((iou(box, other) for other, _ in faces), default=0) >= 0.9, (name, box)
    assert compared > 50


def test_the_eight_exif_orientations_give_the_same_faces(scrfd: Scrfd, shared_dir: Path) -> None:
    found = []
    for orientation in range(1, 9):
        path = shared_dir / f"data/photos/derived/obama_exif_orientation_{orientation}.jpg"
        decoded = decode(path.read_bytes(), max_pixels=LIMIT, keep_picture=False)
        found.append(scrfd.detect(decoded.canvas, DetectParams()).boxes.tolist())
    for boxes in found:
        assert len(boxes) == len(found[0]) == 1
        assert iou(boxes[0], found[0][0]) > 0.97


@pytest.mark.parametrize("output", ["jpeg", "png", "webp"])
def test_leak_samples_come_back_without_metadata(shared_dir: Path, output: OutputFormat) -> None:
    samples = sorted((shared_dir / "data/photos").rglob("*exif_thumbnail_and_gps*"))
    assert len(samples) == 2
    for path in samples:
        decoded = decode(path.read_bytes(), max_pixels=LIMIT, keep_picture=True)
        assert decoded.picture is not None
        data = mask(decoded.picture, np.empty((0, 4), np.float32), MaskParams(format=output)).data
        picture = Image.open(io.BytesIO(data))
        assert set(picture.info) <= {
            "jfif",
            "jfif_version",
            "jfif_unit",
            "jfif_density",
            "icc_profile",
            "dpi",
            "background",  # Pillow says these two of every webp
            "loop",
        }
        assert not picture.getexif()
        for secret in (b"Exif", b"GPS", b"http://ns.adobe.com", b"Photoshop", b"XMP"):
            assert secret not in data
