"""A whole service with known secrets, asked well, badly and while its tiers fail: where do they turn up?"""

import base64
import contextlib
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import psutil
import pytest
import simplejpeg
from numpy.typing import NDArray

from serve_app.embedded.postgres import EmbeddedPostgres
from serve_app.embedded.s3 import EmbeddedS3
from serve_app.storage_tier import environment_of
from tests.serving.conftest import PROJECT, Service, descendants, free_port, start, stop, title
from tests.tiny_scrfd import write_tiny_scrfd

pytestmark = [pytest.mark.ray, pytest.mark.postgres, pytest.mark.s3, pytest.mark.timeout(300)]

ADMIN_PASSWORD = "wachtwoord-4f1c/9a+b7"
WRONG_PASSWORD = "verkeerd-77aa31c0"
DATABASE_PASSWORD = "datenbank-c0ffee5e"
WRONG_KEY = "xyl_" + "5ca1ab1e" * 6
LOGIN = "/api/v1/admin/auth/login"


@dataclass
class Watched:
    """A service and everything that a stranger may come to see of it."""

    service: Service
    metrics_port: int
    ray_folder: Path
    secrets: dict[str, bytes]  # what it is -> its bytes
    answers: list[bytes] = field(default_factory=list)  # every failing answer, with its headers

    def found_in(self, text: bytes, but: frozenset[str] = frozenset()) -> set[str]:
        """Which secrets a text has, in the forms they travel in."""
        forms = {
            name: (secret, quote(secret, safe="").encode(), base64.b64encode(secret))
            for name, secret in self.secrets.items()
        }
        return {name for name, all_forms in forms.items() if any(form in text for form in all_forms)} - but


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, astronaut: NDArray[np.uint8]) -> Iterator[Watched]:
    folder, port = tmp_path_factory.mktemp("watched"), free_port()
    postgres, s3 = EmbeddedPostgres(folder / "postgres"), EmbeddedS3(folder / "objects")
    options = s3.start()
    assert options.secret_key is not None
    url = re.sub(r"(postgresql://[^:@/]+)@", rf"\1:{DATABASE_PASSWORD}@", postgres.start())
    assert DATABASE_PASSWORD in url
    service = start(
        folder,
        FACE_API_MODEL=str(write_tiny_scrfd(folder / "tiny.onnx")),
        FACE_API_DATABASE_URL=url,
        FACE_API_ADMIN_PASSWORD=ADMIN_PASSWORD,
        FACE_API_METRICS_PORT=str(port),
        FACE_API_STORAGE_ENABLED="true",
        **environment_of(options),
    )
    picture: bytes = simplejpeg.encode_jpeg(astronaut, quality=92)
    found = re.search(r"/\S*/session_\d[\w-]+", " ".join(map(title, descendants(service))))
    assert found is not None
    known = {
        "the password": ADMIN_PASSWORD.encode(),
        "a wrong password": WRONG_PASSWORD.encode(),
        "a wrong key": WRONG_KEY.encode(),
        "the database's password": DATABASE_PASSWORD.encode(),
        "the S3 secret": options.secret_key.encode(),
        "name and password": f"admin:{ADMIN_PASSWORD}".encode(),
        "a picture": picture[3000:3024],
    }
    it = Watched(service, port, Path(found[0]), known)
    ask(it, picture)
    s3.stop()
    ask(it, picture)
    postgres.stop()
    ask(it, picture)
    yield it
    stop(service)


def ask(it: Watched, picture: bytes) -> None:
    """Every kind of request, with every kind of credential; what is new is a secret that is looked for."""
    known = it.secrets
    with httpx.Client(base_url=it.service.url, timeout=60) as http:
        if "a key" not in known:
            auth = ("admin", ADMIN_PASSWORD)
            made = http.post("/api/v1/admin/api-keys", json={"name": "an application"}, auth=auth).json()
            login = http.post(LOGIN, json={"username": "admin", "password": ADMIN_PASSWORD})
            known["a key"] = made["key"].encode()
            known["a session"] = login.cookies["face_api_session"].encode()
            http.cookies = httpx.Cookies()
        key = known["a key"].decode()
        session = {"Cookie": f"face_api_session={known['a session'].decode()}"}
        jpeg = {"Content-Type": "image/jpeg", "X-API-Key": key}
        masked = http.post("/api/v1/mask", content=picture, headers=jpeg)
        kept = f"/api/v1/admin/images/{masked.headers.get('x-image-id', key)}"
        if "a signed link" not in known:
            assert masked.status_code == 200
            known["a masked picture"] = masked.content[3000:3024]
            image = http.get(kept, headers=session).json()
            signature = re.search(r"X-Amz-Signature=(\w+)", image["original_url"])
            assert signature is not None
            known["a signed link"] = signature[1].encode()
        for method, path, options in (
            ("POST", "/api/v1/detect", {"content": picture, "headers": jpeg}),
            ("POST", "/api/v1/detect", {"content": picture[:5000], "headers": jpeg}),
            ("POST", "/api/v1/mask?confidence=7", {"content": picture, "headers": jpeg}),
            ("POST", "/api/v1/mask", {"content": picture, "headers": {**jpeg, "X-API-Key": WRONG_KEY}}),
            ("POST", f"/api/v1/detect?key={key}", {"content": picture}),
            ("GET", f"/api/v1/{key}", {}),
            ("GET", f"/api/v1/admin/images/{WRONG_KEY}", {"headers": session}),
            ("GET", "/api/v1/admin/images", {"headers": session}),
            ("GET", "/api/v1/admin/images", {"auth": ("admin", WRONG_PASSWORD)}),
            ("GET", f"{kept}/original", {"headers": session}),
            ("POST", LOGIN, {"json": {"username": "admin", "password": WRONG_PASSWORD}}),
            ("POST", LOGIN, {"json": {"username": "admin", "password": [ADMIN_PASSWORD]}}),
            ("POST", LOGIN, {"content": f'{{"password": "{ADMIN_PASSWORD}'.encode()}),
            ("GET", "/health", {}),
        ):  # fmt: skip
            answer = http.request(method, path, **options)
            if answer.status_code >= 400 or path == "/health":
                it.answers.append(repr(answer.headers.raw).encode() + answer.content)


def test_no_failing_answer_holds_a_secret(watched: Watched) -> None:
    assert len(watched.answers) > 30
    for answer in watched.answers:
        assert watched.found_in(answer) == set(), answer[:2000]


def test_neither_log_nor_metrics_nor_document_hold_a_secret(watched: Watched) -> None:
    texts = {
        "log": watched.service.log.read_bytes(),
        "metrics": httpx.get(f"http://127.0.0.1:{watched.metrics_port}/metrics").content,
        "openapi.json": httpx.get(f"{watched.service.url}/openapi.json").content,
    }
    assert b'"event": "request"' in texts["log"]
    assert b"not stored" in texts["log"]
    assert b"face_api_requests_total" in texts["metrics"]
    for name, text in texts.items():
        assert watched.found_in(text) == set(), name


def test_rays_own_folder_holds_no_secret(watched: Watched) -> None:
    files = [path for path in watched.ray_folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert watched.found_in(path.read_bytes()) == set(), path


def test_no_command_line_and_no_other_users_environment_holds_a_secret(watched: Watched) -> None:
    processes = [psutil.Process(watched.service.process.pid), *descendants(watched.service)]
    assert len(processes) > 8
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            folder = Path("/proc") / str(process.pid)
            assert watched.found_in((folder / "cmdline").read_bytes()) == set(), title(process)
            environment = folder / "environ"
            if environment.stat().st_uid != os.geteuid():
                assert watched.found_in(environment.read_bytes()) == set(), title(process)


def test_what_others_may_read_of_its_files_holds_no_secret(watched: Watched) -> None:
    folder = watched.service.data_dir.parent
    kept = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in kept if path.is_relative_to(folder / "objects") and path.suffix == ".jpg"]
    for path in kept:
        if others_may_read(path, folder) and path != watched.service.log:
            assert watched.found_in(path.read_bytes()) == set(), path


def others_may_read(path: Path, root: Path) -> bool:
    """Whether permission bits let any user read a file that may reach `root`."""
    above = [parent for parent in path.parents if parent.is_relative_to(root) and parent != root]
    return bool(path.stat().st_mode & stat.S_IROTH) and all(p.stat().st_mode & stat.S_IXOTH for p in above)


def test_a_database_that_cannot_be_reached_is_named_without_its_password(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "serve_app.cli", "serve"],
        env={
            **os.environ,
            "PORT": str(free_port()),
            "FACE_API_DATA_DIR": str(tmp_path),
            "FACE_API_DATABASE_URL": f"postgresql://face:{DATABASE_PASSWORD}@127.0.0.1:1/face_api",
            "FACE_API_METRICS_PORT": "0",
            "FACE_API_MODEL": str(write_tiny_scrfd(tmp_path / "tiny.onnx")),
            "PYTHONPATH": str(PROJECT),
        },
        cwd=tmp_path,
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert b"database" in done.stderr
    assert DATABASE_PASSWORD.encode() not in done.stdout + done.stderr
