"""The judge tells a bad way of masking from a good one."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from deployments.decoding.decode import decode
from deployments.types import MaskParams
from models.recogniser import Recogniser
from models.resolve import ModelSource
from models.scrfd import Scrfd, ScrfdOptions
from serve_app.cli import app
from serve_app.judge.judge import Judge, Verdict
from tests.models.test_recogniser import write_recogniser
from tests.tiny_scrfd import write_tiny_scrfd

BARE = MaskParams(strength=1, has_floor=False)
CELL = 96
"""Side of a found cell in a picture of 1920 pixels, which is scaled to a third."""


@pytest.fixture
def scrfd(tmp_path: Path) -> Scrfd:
    source = ModelSource(str(write_tiny_scrfd(tmp_path / "tiny.onnx")), (), tmp_path)
    return Scrfd.load(ScrfdOptions(source, tmp_path / "prepared", provider="cpu", threads=1))


def face(seed: int) -> NDArray[np.uint8]:
    """A red cell with a pattern of its own, in a black picture."""
    rng = np.random.default_rng(seed)
    pattern = rng.integers(0, 2, (6, 6)).repeat(CELL // 6, axis=0).repeat(CELL // 6, axis=1)
    picture = np.zeros((1920, 1920, 3), np.uint8)
    picture[3 * CELL : 4 * CELL, 5 * CELL : 6 * CELL, 0] = 255
    picture[3 * CELL : 4 * CELL, 5 * CELL : 6 * CELL, 1] = pattern * 40
    picture[3 * CELL : 4 * CELL, 5 * CELL : 6 * CELL, 2] = (1 - pattern) * 40
    return picture


def verdicts(judge: Judge, pictures: list[NDArray[np.uint8]]) -> list[Verdict]:
    for pixels in pictures:
        judge.add(pixels)
    return list(judge.verdicts())


def test_what_is_not_hidden_is_known_and_found_and_what_is_black_is_neither(
    scrfd: Scrfd, tmp_path: Path
) -> None:
    recogniser = Recogniser(write_recogniser(tmp_path / "recogniser.onnx"), 1)
    judge = Judge(scrfd, recogniser, [BARE, MaskParams("solid")])
    bare, solid = verdicts(judge, [face(seed) for seed in range(5)])
    assert judge.faces == 5
    assert bare.known.all()
    assert bare.known_restored.all()
    assert bare.found.all()
    assert (bare.psnr_masked == 100).all()
    assert solid.known.sum() <= 1  # all look the same, so one of them by chance
    assert not solid.found.any()
    assert solid.of_size(0).sum() == 5
    assert not solid.of_size(1).any()


def test_the_command_prints_a_row_for_each_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACE_API_MODEL", str(write_tiny_scrfd(tmp_path / "tiny.onnx")))
    monkeypatch.setenv("FACE_API_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "data").mkdir()
    for seed in range(2):
        Image.fromarray(face(seed)).save(tmp_path / "data" / f"{seed}.png")
    recogniser = str(write_recogniser(tmp_path / "recogniser.onnx"))
    call = ["models", "judge", "--data", str(tmp_path / "data"), "--recogniser", recogniser]
    result = CliRunner().invoke(app, [*call, "--method", "solid", "--method", "pixelate", "--strength", "30"])
    assert result.exit_code == 0, result.output
    assert "pixelate" in result.output
    assert "2 faces" in result.output
    for wrong in (["--method", "sepia"], ["--fill", "image"]):
        assert CliRunner().invoke(app, [*call, *wrong]).exit_code == 2


@pytest.mark.shared
@pytest.mark.slow
def test_real_faces_are_neither_known_nor_found_at_the_default_and_at_the_floor(
    shared_dir: Path, tmp_path: Path
) -> None:
    recogniser = shared_dir / "models" / "mobilefacenet.onnx"
    if not recogniser.is_file():
        pytest.skip("no recogniser among the weights")
    source = ModelSource("scrfd_2.5g", (shared_dir / "models",), tmp_path)
    scrfd = Scrfd.load(ScrfdOptions(source, tmp_path / "prepared", provider="openvino", threads=1))
    ways = [BARE, MaskParams(), MaskParams("pixelate"), MaskParams("solid"), MaskParams("pixelate", 1)]
    judge = Judge(scrfd, Recogniser(recogniser, 1), ways)
    for path in sorted((shared_dir / "data/wider_val_subset/images").rglob("*.jpg")):
        picture = decode(path.read_bytes(), max_pixels=10**8, keep_picture=True).picture
        assert picture is not None
        judge.add(picture.pixels)
        if judge.faces >= 40:
            break
    bare, *hidden = judge.verdicts()
    assert bare.known.mean() > 0.9
    for verdict in hidden:
        assert verdict.known.sum() <= 4  # one by chance
        assert verdict.known_restored.sum() <= 4
        assert not verdict.found.any()
