"""`face-api redact` as a user runs it, over Ray: killed with -9 half-way, and one that a picture ends."""

import asyncio
import io
import json
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
WAIT = b"waits for the gate"
WAITS = f"""
import hashlib, os, time
sha256 = hashlib.sha256
def waiting(data=b"", **options):
    while bytes(data[-20:]).endswith({WAIT!r}) and not os.path.exists({{gate!r}}):
        time.sleep(0.05)
    return sha256(data, **options)
hashlib.sha256 = waiting
"""
"""How workers are held up: they hash each file before they look at it."""

POISON = b"ends whoever hashes it"
ENDS_ON_POISON = f"""
import hashlib, os
sha256 = hashlib.sha256
def poisoned(data=b"", **options):
    if bytes(data).endswith({POISON!r}):
        os._exit(1)
    return sha256(data, **options)
hashlib.sha256 = poisoned
"""

AS_IN_A_TERMINAL = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Ctrl-C ends a command even where these tests run in the background, which ignores SIGINT."""


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
    gate, code = tmp_path / "gate", tmp_path / "code"
    code.mkdir()
    (code / "sitecustomize.py").write_text(WAITS.format(gate=str(gate)))
    environment["PYTHONPATH"] = f"{code}{os.pathsep}{PROJECT}"
    files = {f"a/{number}.png": picture(number) for number in range(COUNT // 2)}
    files |= {f"b/{number}.png": picture(number) + WAIT for number in range(COUNT // 2)}
    files |= {"a/notes.txt": b"no picture", "a/broken.png": picture(0)[:200]}
    s3 = EmbeddedS3(tmp_path / "s3")
    options = s3.start()
    try:
        asyncio.run(upload(options, files))
        assert kill_half_way(options, environment, COUNT // 2) == COUNT // 2
        gate.touch()
        assert start(options, environment).wait() == 1  # one is broken
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
    process = subprocess.Popen(
        [sys.executable, "-c", AS_IN_A_TERMINAL, *command],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(target.glob("*.png")):
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 130
    assert "Traceback" not in said
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stdout) == (
        0,
        "40 masked with 40 faces, 0 skipped as no pictures, 0 failed\n",
    )
    pictures = sorted(target.glob("*.png"))
    assert len(pictures) == 40
    assert all(np.asarray(Image.open(path)).max() == 0 for path in pictures)


def test_a_picture_that_ends_its_process_fails_and_no_other(
    environment: dict[str, str], tmp_path: Path
) -> None:
    source, target, code = tmp_path / "in", tmp_path / "out", tmp_path / "code"
    source.mkdir()
    code.mkdir()
    (code / "sitecustomize.py").write_text(ENDS_ON_POISON)
    for number in range(30):
        (source / f"{number}.png").write_bytes(picture(number) + (POISON if number in {7, 8} else b""))
    env = {**os.environ, **environment, "PYTHONPATH": f"{code}{os.pathsep}{PROJECT}"}
    command = [sys.executable, "-m", "serve_app.cli", "redact", str(source), str(target)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout == "28 masked with 28 faces, 0 skipped as no pictures, 2 failed\n", done.stderr
    assert done.returncode == 1
    lines = [json.loads(line) for line in (target / "manifest.jsonl").read_text().splitlines()]
    failures = {line["source"]: line["reason"] for line in lines if line["status"] == "failed"}
    assert set(failures) == {"7.png", "8.png"}
    assert all("ended" in reason for reason in failures.values())
