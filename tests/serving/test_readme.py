"""The commands of the README do what it says."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.serving.conftest import PROJECT, Service

pytestmark = [pytest.mark.ray, pytest.mark.shared]


def test_the_curl_lines_work_as_they_stand(service: Service, shared_dir: Path, tmp_path: Path) -> None:
    readme = (PROJECT / "README.md").read_text()
    lines = re.findall(r"^(?:curl|KEY=).*$", readme, re.MULTILINE)
    assert len(lines) == 5
    photo = shared_dir / "data/photos/real/t1.jpg"
    script = "\n".join(["set -e", f"PHOTO={photo}", *lines])
    script = script.replace("http://127.0.0.1:8000", service.url).replace("var/", f"{service.data_dir}/")
    done = subprocess.run(
        ["/bin/sh", "-c", script.replace("curl ", "curl -sSf ")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found, _ = json.JSONDecoder().raw_decode(done.stdout)
    assert found["summary"]["face_count"] == 6
    assert (tmp_path / "masked.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert (tmp_path / "masked.png").read_bytes()[:4] == b"\x89PNG"
