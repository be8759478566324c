import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.training.pictures import TrainingDataError, load_pictures
from tests.models.training.conftest import draw


def write(folder: Path, entries: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "labels.json").write_text(json.dumps(entries))
    return folder


def test_reads_boxes_as_corners_and_what_to_ignore(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), draw([]))
    entry = {"file": "a.png", "boxes_xywh": [[10, 20, 30, 40]], "ignore_xywh": [[0, 0, 5, 5]]}
    (picture,) = load_pictures([write(tmp_path, [entry])]).pictures
    assert picture.faces.tolist() == [[10, 20, 40, 60]]
    assert picture.ignored.tolist() == [[0, 0, 5, 5]]
    assert np.isnan(picture.landmarks).all()


def test_large_pictures_are_reduced_with_their_labels(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), draw([], height=500, width=1280))
    points = [[100, 50], [120, 50], [110, 60], [100, 70], [120, 70]]
    entry = {"file": "a.png", "boxes_xywh": [[100, 40, 60, 80]], "landmarks": [points]}
    pictures = load_pictures([write(tmp_path, [entry])])
    (picture,) = pictures.pictures
    assert picture.pixels.shape == (250, 640, 3)
    assert picture.faces.tolist() == [[50, 20, 80, 60]]
    assert picture.landmarks[0, 0].tolist() == [50, 25]
    assert pictures.have_landmarks


def test_bad_labels_are_named_counted_and_left_out(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), draw([]))
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    (tmp_path / "torn.png").write_bytes(b"\x89PNG not a picture")
    boxes = [[1, 1, 20, 20], [5, 5, 0, 10], [5, 5, -3, 10], [900, 5, 10, 10], [float("nan"), 1, 2, 3]]
    entries = [
        {"file": "a.png", "boxes_xywh": boxes},
        {"file": "missing.png", "boxes_xywh": []},
        {"file": "torn.png", "boxes_xywh": [[1, 1, 5, 5]]},
        {"file": "a.png", "boxes_xywh": [[1, 2, 3]]},
        {"file": "a.png", "boxes_xywh": "none"},
        {"file": "a.png", "boxes_xywh": [[10**400, 1, 2, 3]]},
        {"file": "a.png", "boxes_xywh": [[float("-inf"), 1, float("inf"), 3]]},
        {"file": "a.png", "width": 96, "height": 128, "boxes_xywh": [[1, 1, 20, 20]]},
        {"file": "huge.png", "boxes_xywh": [[1, 1, 20, 20]]},
        {"boxes_xywh": []},
        "nonsense",
    ]
    pictures = load_pictures([write(tmp_path, entries)])
    assert pictures.face_count == 1
    assert pictures.problems == {
        "box without width or height": 2,
        "box outside its picture": 1,
        "box with no number in it": 2,
        "file missing": 1,
        "picture unreadable": 2,
        "picture is not of the width and height in its label": 1,
        "boxes or landmarks are not lists of numbers": 3,
        "label without a file": 2,
    }
    assert pictures.examples["file missing"].endswith("missing.png")


def test_a_box_that_reaches_out_is_clipped(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), draw([], height=96, width=128))
    entries = [{"file": "a.png", "boxes_xywh": [[-10, 80, 30, 40]]}]
    (picture,) = load_pictures([write(tmp_path, entries)]).pictures
    assert picture.faces.tolist() == [[0, 80, 20, 96]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing"),
        ("{", "cannot be read"),
        ('{"a": 1}', "must be a list"),
        ("[]", "no labelled face"),
        ('[{"file": "gone.png", "boxes_xywh": [[1, 1, 9, 9]]}]', "no labelled face .*file missing: 1"),
    ],
)
def test_a_folder_of_no_use_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "labels.json").write_text(content)
    with pytest.raises(TrainingDataError, match=message):
        load_pictures([tmp_path])
