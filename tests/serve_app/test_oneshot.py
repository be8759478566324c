import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from serve_app.cli import app
from tests.deployments.video.clips import decoded, write_clip
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


def test_lossless_takes_jpegs_and_says_so_of_others(folder: Path) -> None:
    pixels = red_block_picture(640, 640, {(2, 3): 255})
    Image.fromarray(pixels).save(folder / "c.jpg", quality=95, subsampling=0)
    out = folder.parent / "out"
    result = CliRunner().invoke(app, ["mask", str(folder), "-o", str(out), "--method", "solid", "--lossless"])
    assert result.exit_code == 1
    assert result.stderr.count("lossless=true takes jpeg") == 2
    assert [p.name for p in out.rglob("*.jpg")] == ["c.jpg"]
    assert np.asarray(Image.open(out / "c.jpg")).max() < 16


def test_mask_never_overwrites_its_input(folder: Path) -> None:
    before = (folder / "a.png").read_bytes()
    result = CliRunner().invoke(app, ["mask", str(folder / "a.png"), "-o", str(folder), "--format", "png"])
    assert result.exit_code == 2
    assert (folder / "a.png").read_bytes() == before


def test_mask_takes_films_and_pictures_of_one_folder(folder: Path) -> None:
    block = red_block_picture(640, 640, {(2, 3): 255})
    write_clip(folder / "film.mov", [block] * 6)
    write_clip(folder / "sub" / "old.avi", [block] * 6, codec="mpeg4", sound=None)
    out = folder.parent / "out"
    result = CliRunner().invoke(app, ["mask", str(folder), "-o", str(out), "--method", "solid"])
    assert result.exit_code == 0
    assert {p.relative_to(out).as_posix() for p in out.rglob("*.*")} == {
        *("a.jpg", "sub/b.jpg"),
        *("film.mov", "sub/old.mkv"),
    }
    for name in ("film.mov", "sub/old.mkv"):
        assert len(decoded(out / name)) == 6
        assert max(frame[100:124, 68:92].max() for frame in decoded(out / name)) < 20


def test_a_film_that_fails_is_said_and_the_others_are_done(folder: Path) -> None:
    (folder / "bad.mp4").write_bytes(b"no film")
    out = folder.parent / "out"
    result = CliRunner().invoke(app, ["mask", str(folder), "-o", str(out)])
    assert result.exit_code == 1
    assert "bad.mp4: it cannot be read as a video" in result.stderr
    assert sorted(p.name for p in out.rglob("*.*")) == ["a.jpg", "b.jpg"]


def test_a_film_is_not_written_as_a_picture_nor_over_itself(folder: Path) -> None:
    film = write_clip(folder / "film.mp4", [red_block_picture(64, 64, {})] * 2)
    before = film.read_bytes()
    for output in ("masked.jpg", "film.mp4"):
        result = CliRunner().invoke(app, ["mask", str(film), "-o", str(folder / output)])
        assert result.exit_code == 2
    assert film.read_bytes() == before


def test_without_pyav_films_say_how_to_install_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(folder / "film.mp4", [red_block_picture(64, 64, {})] * 2)
    monkeypatch.setattr("serve_app.films.find_spec", lambda _: None)
    result = CliRunner().invoke(app, ["mask", str(folder), "-o", str(folder.parent / "out")])
    assert "pip install 'av" in str(result.exception)
    assert not (folder.parent / "out").exists()
