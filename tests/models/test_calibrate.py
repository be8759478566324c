from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from typer.testing import CliRunner

from models.activation_ranges import Ranges, find_ranges
from models.calibrate import Calibrator
from models.errors import RangesError
from models.graph import prepare
from serve_app.cli import app
from tests.models.conftest import canvas_of
from tests.tiny_scrfd import red_block_picture, write_tiny_scrfd


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACE_API_DATA_DIR", str(tmp_path / "var"))
    return write_tiny_scrfd(tmp_path / "tiny.onnx")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.png", "sub/c.png", "sub/d.png")):
        picture = red_block_picture(360, 640, {(2, index): 60 * index + 70})
        Image.fromarray(picture).save(folder / name)
    return folder


def calibrate(weights: Path, data: Path, *options: str) -> tuple[int, str]:
    arguments = ["models", "calibrate", "--model", str(weights), "--data", str(data), *options]
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output + str(result.exception or "")


def test_a_range_is_the_lowest_and_highest_value_of_all_pictures(prepared: Path) -> None:
    calibrator = Calibrator(prepared, 1)
    calibrator.add(canvas_of(np.full((640, 640, 3), 64, np.uint8)))
    calibrator.add(canvas_of(np.full((640, 640, 3), 191, np.uint8)))
    ranges = calibrator.ranges("tiny").by_signature
    assert len(ranges) == 3  # the mean colour at each stride
    for low, high in ranges.values():
        assert (low, high) == pytest.approx(((64 - 127.5) / 128, (191 - 127.5) / 128), abs=1e-5)


def test_no_picture_is_an_error(prepared: Path) -> None:
    with pytest.raises(RangesError, match="no picture"):
        Calibrator(prepared, 1).ranges("tiny")


def test_the_command_makes_what_int8_needs(weights: Path, data: Path, tmp_path: Path) -> None:
    (data / "broken.jpg").write_bytes(b"\xff\xd8nothing")
    code, output = calibrate(weights, data)
    assert code == 0, output
    made = tmp_path / "var" / "ranges" / "tiny.json"
    assert "3 ranges of 4 pictures, 1 unreadable" in output
    assert find_ranges(prepare(weights, tmp_path / "again", "abc"), [made.parent]) is not None
    first = made.read_bytes()
    assert calibrate(weights, data)[0] == 0
    assert made.read_bytes() == first


def test_the_command_spreads_its_count_over_the_folder(weights: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "some.json"
    code, output = calibrate(weights, data, "--count", "2", "--out", str(out))
    assert code == 0, output
    assert Ranges.load(out).pictures == 2


def test_a_folder_without_pictures_gives_a_sentence(weights: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    code, output = calibrate(weights, empty)
    assert code == 1
    assert "holds no pictures" in output
    (empty / "bad.png").write_bytes(b"nothing")
    code, output = calibrate(weights, empty)
    assert code == 1
    assert "no picture could be read" in output


def test_ranges_of_the_data_folder_come_before_the_shipped(prepared: Path, measured: Ranges) -> None:
    first, second = prepared.parent / "first", prepared.parent / "second"
    wide = {key: (low - 1, high + 1) for key, (low, high) in measured.by_signature.items()}
    Ranges("wide", 1, wide).save(first / "x.json")
    measured.save(second / "x.json")
    found = find_ranges(prepared, [first, second])
    assert found is not None
    assert sorted(found.values()) == sorted(wide.values())
    assert set(found) == {node.input[0] for node in onnx.load(prepared).graph.node if node.op_type == "Conv"}
