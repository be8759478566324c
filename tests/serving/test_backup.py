"""The commands of docs/backup.md bring keys, jobs and pictures of one data folder into a fresh one."""

import re
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from tests.serving.conftest import PROJECT, Service, start, stop
from tests.tiny_scrfd import write_tiny_scrfd

pytestmark = [pytest.mark.ray, pytest.mark.postgres, pytest.mark.s3, pytest.mark.timeout(600)]
PAGE = (PROJECT / "docs" / "backup.md").read_text()


def run(block: str, folder: Path) -> None:
    """A block of the page, in a folder where `.venv` and `var` are."""
    found = re.search(rf"<!-- {block} -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    subprocess.run(["/bin/sh", "-euc", found[1]], cwd=folder, check=True, timeout=120)


def place(folder: Path) -> Path:
    folder.mkdir()
    (folder / ".venv").symlink_to(PROJECT / ".venv")
    return folder


def admin(service: Service, path: str) -> httpx.Response:
    auth = (service.credentials["admin_user"], service.credentials["admin_password"])
    return httpx.get(f"{service.url}/api/v1/admin/{path}", auth=auth, timeout=30, follow_redirects=True)


def test_a_backup_is_restored_by_the_commands_of_the_page(
    tmp_path: Path, astronaut: NDArray[np.uint8]
) -> None:
    if not (PROJECT / ".venv").is_dir():
        pytest.skip("the page's commands are written for the project's .venv")
    model = {"FACE_API_MODEL": str(write_tiny_scrfd(tmp_path / "tiny.onnx"))}
    picture = simplejpeg.encode_jpeg(np.ascontiguousarray(astronaut), quality=90)
    old, new = place(tmp_path / "old"), place(tmp_path / "new")
    first = start(old, **model)
    key = {"X-API-Key": first.api_key, "Content-Type": "image/jpeg"}
    answer = httpx.post(f"{first.url}/api/v1/mask", content=picture, headers=key, timeout=60)
    image_id, job_id = answer.headers["x-image-id"], answer.headers["x-job-id"]
    run("backup", old)
    password = first.credentials["admin_password"]
    stop(first)
    (old / "backup").rename(new / "backup")
    second = start(new, **model)
    assert second.credentials["admin_password"] != password
    run("restore the database", new)
    stop(second)
    run("restore the objects", new)
    third = start(new, **model)
    assert third.credentials["admin_password"] == password
    assert admin(third, f"images/{image_id}/download").content == picture
    assert admin(third, f"jobs/{job_id}/download").content == answer.content
    again = httpx.post(f"{third.url}/api/v1/detect", content=picture, headers=key, timeout=60)
    assert again.status_code == 200
    stop(third)
