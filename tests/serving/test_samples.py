"""The samples of the documentation run as they stand, where their runtime is at hand."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from serve_app.samples import LANGUAGES, sample_file
from tests.serving.conftest import Service, are_alike

pytestmark = [pytest.mark.ray, pytest.mark.parametrize("suffix", [suffix for suffix, _, _ in LANGUAGES])]
PROJECT_FILE = """<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <OutputType>Exe</OutputType>
    <TargetFramework>net8.0</TargetFramework>
    <RollForward>Major</RollForward>
    <ImplicitUsings>enable</ImplicitUsings>
  </PropertyGroup>
</Project>
"""


@pytest.fixture
def picture(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    path = tmp_path / "astronaut.jpg"
    path.write_bytes(simplejpeg.encode_jpeg(astronaut, quality=92))
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8\xff no picture")
    return path


def command(call: str, suffix: str, folder: Path) -> list[str]:
    """How a user starts a sample; the test is skipped where its runtime is missing."""
    file = sample_file(call, suffix)
    needed = {".sh": "curl", ".py": sys.executable, ".mjs": "node", ".cs": "dotnet"}[suffix]
    program = shutil.which(needed)
    if program is None:
        pytest.skip(f"{needed} is not at hand, so {file.name} is not run")
    if suffix == ".mjs" and node_major(program) < 18:
        pytest.skip(f"{program} is older than 18, so {file.name} is not run")
    if suffix == ".cs":
        project = folder / "sample"
        project.mkdir()
        (project / "sample.csproj").write_text(PROJECT_FILE)
        shutil.copy(file, project / "Program.cs")
        return ["dotnet", "run", "--project", str(project), "--"]
    return ["sh" if suffix == ".sh" else program, str(file)]


def node_major(program: str) -> int:
    version = subprocess.check_output([program, "--version"], text=True)
    return int(version.lstrip("v").split(".")[0])


def run(service: Service, call: str, suffix: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    folder = paths[0].parent if paths else service.data_dir
    return subprocess.run(
        [*command(call, suffix, folder), *map(str, paths)],
        env={**os.environ, "FACE_API_URL": service.url, "FACE_API_KEY": service.api_key},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_health_prints_that_all_is_ready(service: Service, suffix: str) -> None:
    done = run(service, "health", suffix)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "ok"


def test_detect_prints_the_picture_and_its_faces(service: Service, suffix: str, picture: Path) -> None:
    done = run(service, "detect", suffix, picture)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["image"]["size_bytes"] == picture.stat().st_size
    assert len(found["detections"]) == found["summary"]["face_count"]


def test_mask_writes_what_the_api_answers(
    service: Service, client: httpx.Client, suffix: str, picture: Path, tmp_path: Path
) -> None:
    output = tmp_path / "masked.jpg"
    done = run(service, "mask", suffix, picture, output)
    assert done.returncode == 0, done.stderr
    masked = client.post("/api/v1/mask", files={"image": picture.read_bytes()}).content
    assert are_alike(output.read_bytes(), masked)


def test_batch_writes_a_zip_of_what_mask_answers_for_each(
    service: Service, client: httpx.Client, suffix: str, picture: Path, broken: Path, tmp_path: Path
) -> None:
    output = tmp_path / "masked.zip"
    done = run(service, "batch", suffix, output, picture, broken)
    assert done.returncode == 0, done.stderr
    masked = client.post("/api/v1/mask", files={"image": picture.read_bytes()}).content
    with zipfile.ZipFile(output) as archive:
        assert archive.namelist() == [picture.name, "manifest.json"]
        assert are_alike(archive.read(picture.name), masked)
        statuses = [item["status"] for item in json.loads(archive.read("manifest.json"))["items"]]
    assert statuses == [200, 400]


@pytest.mark.parametrize("call", ["detect", "mask"])
def test_a_broken_file_is_refused_with_the_servers_words(
    service: Service, client: httpx.Client, call: str, suffix: str, broken: Path, tmp_path: Path
) -> None:
    output = tmp_path / "masked.jpg"
    done = run(service, call, suffix, broken, *([output] if call == "mask" else []))
    detail = client.post(f"/api/v1/{call}", files={"image": broken.read_bytes()}).json()["detail"]
    assert done.returncode != 0
    assert detail in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not output.exists()
