import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from serve_app.cli import app
from tests.tiny_scrfd import red_block_picture, write_tiny_scrfd


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACE_API_MODEL", str(write_tiny_scrfd(tmp_path / "tiny.onnx")))
    monkeypatch.setenv("FACE_API_DATA_DIR", str(tmp_path / "var"))
    pictures = tmp_path / "in"
    (pictures / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png"):
        Image.fromarray(red_block_picture(640, 640, {(2, 3): 255})).save(pictures / name)
    return pictures


def test_detect_prints_a_json_line_for_each_picture(folder: Path) -> None:
    result = CliRunner().invoke(app, ["detect", str(folder)])
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [len(line["detections"]) for line in lines] == [1, 1]


def test_mask_writes_a_folder_like_the_input_and_goes_on_after_a_bad_file(folder: Path) -> None:
    (folder / "bad.jpg").write_bytes(b"\xff\xd8nothing")
    out = folder.parent / "out"
    arguments = ["mask", str(folder), "-o", str(out), "--method", "solid", "--format", "png"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "bad.jpg" in result.stderr
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png")) == ["a.png", "sub/b.png"]
    assert np.asarray(Image.open(out / "a.png")).max() == 0


def test_mask_takes_what_the_api_takes(folder: Path) -> None:
    out = folder.parent / "out.png"
    patch = folder.parent / "blue.png"
    Image.fromarray(np.full((4, 4, 3), (0, 0, 255), np.uint8)).save(patch)
    one = ["mask", str(folder / "a.png"), "-o", str(out), "--format", "png", "--padding", "0"]
    more = ["--fill", "image", "--fill-image", str(patch), "--regions", "[[0, 600, 20, 20]]"]
    assert CliRunner().invoke(app, [*one, *more]).exit_code == 0
    pixels = np.asarray(Image.open(out))
    for x, y in ((64, 96), (0, 600)):
        assert (pixels[y : y + 20, x : x + 20] == (0, 0, 255)).all()
    left = CliRunner().invoke(app, [*one, "--skip", "[0]", "--face-count", "1"])
    assert left.exit_code == 0
    assert np.asarray(Image.open(out))[96:128, 64:96, 0].min() == 255
    for wrong, text in (
        (["--skip", "[0]"], "face_count"),
        (["--skip", "[5]", "--face-count", "1"], "no face 5"),
        (["--regions", "[[0, 0, 0, 9]]"], "JSON list"),
        (["--fill", "color:red"], "color:#rrggbb"),
    ):
        result = CliRunner().invoke(app, [*one, *wrong])
        assert result.exit_code != 0
        assert text in result.output + str(result.exception)


def test_mask_never_overwrites_its_input(folder: Path) -> None:
    before = (folder / "a.png").read_bytes()
    result = CliRunner().invoke(app, ["mask", str(folder / "a.png"), "-o", str(folder), "--format", "png"])
    assert result.exit_code == 2
    assert (folder / "a.png").read_bytes() == before
