"""`face-api redact` as a user runs it, over Ray: killed with -9 half-way, and one that a picture ends."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loadtests.redact import kill_half_way, look, mistakes, start, upload
from models.resolve import ModelSource
from models.scrfd import Scrfd, ScrfdOptions
from serve_app.embedded import rclone
from serve_app.embedded.errors import EmbeddedError
from serve_app.embedded.s3 import EmbeddedS3
from tests.serving.conftest import PROJECT
from tests.tiny_scrfd import red_block_picture, write_tiny_scrfd

pytest.importorskip("pyarrow", reason="needs pip install '.[redact]'")
pytest.importorskip("pandas", reason="needs pip install '.[redact]'")
pytestmark = [pytest.mark.ray, pytest.mark.slow]
COUNT = 120


def picture(number: int) -> bytes:
    file = io.BytesIO()
    cells = {(number % 20, number // 20): 255}
    Image.fromarray(red_block_picture(640, 640, cells)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_scrfd(tmp_path_factory.mktemp("tiny") / "tiny.onnx")


@pytest.fixture
def environment(weights: Path, tmp_path: Path) -> dict[str, str]:
    return {
        "FACE_API_MODEL": str(weights),
        "FACE_API_DATA_DIR": str(tmp_path / "var"),
        "FACE_API_PROVIDER": "cpu",
    }


@pytest.mark.s3
def test_a_collection_on_s3_that_was_killed_half_way_is_done_once_and_unmasked_nowhere(
    weights: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    try:
        rclone.find_program()
    except EmbeddedError:
        pytest.skip("needs pip install '.[embedded]'")
    files = {f"{number % 3}/{number}.png": picture(number) for number in range(COUNT)}
    files |= {"notes.txt": b"no picture", "broken.png": picture(0)[:200]}
    s3 = EmbeddedS3(tmp_path / "s3")
    options = s3.start()
    try:
        asyncio.run(upload(options, files))
        assert COUNT // 2 <= kill_half_way(options, environment, COUNT // 2) < COUNT
        assert start(options, environment).wait(60) == 1  # one is broken
        found = asyncio.run(look(options))
    finally:
        s3.stop()
    assert found.lines_by_status == {"masked": COUNT, "skipped": 1, "failed": 1}
    scrfd = Scrfd.load(ScrfdOptions(ModelSource(str(weights), (), tmp_path), tmp_path / "prepared", "cpu", 1))
    assert mistakes(files, found, scrfd) == []


def test_ctrl_c_keeps_what_was_done_and_the_same_command_goes_on(
    environment: dict[str, str], tmp_path: Path
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(40):
        (source / f"{number}.png").write_bytes(picture(number))
    command = [sys.executable, "-m", "serve_app.cli", "redact", str(source), str(target)]
    command += ["--method", "solid", "--format", "png"]
    env = {**os.environ, "PYTHONPATH": str(PROJECT), **environment}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(target.glob("*.png")):
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (
        0,
        "40 masked with 40 faces, 0 skipped as no pictures, 0 failed\n",
    )
    pictures = sorted(target.glob("*.png"))
    assert len(pictures) == 40
    assert all(np.asarray(Image.open(path)).max() == 0 for path in pictures)
