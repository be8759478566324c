from pathlib import Path

import cv2
import numpy as np
import pytest

from loadtests.pictures import make_picture, read_folder


def pixels_of(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def test_the_same_seed_makes_the_same_picture_and_another_seed_another() -> None:
    assert make_picture(0.3, 3, 7).data == make_picture(0.3, 3, 7).data
    assert make_picture(0.3, 3, 7).data != make_picture(0.3, 3, 8).data


@pytest.mark.parametrize("megapixels", [0.3, 2.0])
def test_a_picture_has_the_megapixels_it_is_named_after(megapixels: float) -> None:
    height, width = pixels_of(make_picture(megapixels, 0).data).shape[:2]
    assert height * width == pytest.approx(megapixels * 1e6, rel=0.03)


def test_heads_are_pasted_where_there_is_room_for_them() -> None:
    without, crowded = (pixels_of(make_picture(0.3, faces).data) for faces in (0, 20))
    changed = np.abs(without.astype(int) - crowded).max(axis=2) > 60
    assert 0.2 < changed.mean() < 0.9


def test_a_folder_gives_its_pictures_with_their_types(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"b")
    (tmp_path / "a.JPG").write_bytes(b"a")
    (tmp_path / "notes.txt").write_text("no picture")
    found = read_folder(tmp_path)
    assert [(p.name, p.data, p.content_type) for p in found] == [
        ("a.JPG", b"a", "image/jpeg"),
        ("b.png", b"b", "image/png"),
    ]


def test_a_folder_without_pictures_is_an_error_that_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"\.jpg"):
        read_folder(tmp_path)
