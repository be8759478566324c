import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from models.errors import ModelDigestError, ModelUnavailableError
from models.fetch import fetch_weights, find_weights
from models.manifest import MODELS, ModelSpec
from models.resolve import ModelSource, resolve_model

WEIGHTS = bytes(np.random.default_rng(5).integers(0, 256, 300_000, np.uint8))
SPEC = ModelSpec(
    "scrfd_500m", "test.zip", "det.onnx", len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest(), (1.0, 1.0, 1.0)
)


def archive(weights: bytes = WEIGHTS) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as bundle:
        bundle.writestr("folder/det.onnx", weights)
        bundle.writestr("../other.onnx", b"x")
    return file.getvalue()


class Mirror(ThreadingHTTPServer):
    body = archive()
    ranges = True
    cut_after: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if self.path != "/test.zip":
            self.send_error(404)
            return
        start = int(wanted[6:-1]) if wanted and self.server.ranges else 0
        rest = self.server.body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        cut, self.server.cut_after = self.server.cut_after, None
        self.wfile.write(rest if cut is None else rest[:cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    server = Mirror()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_weights_are_downloaded_checked_and_kept(mirror: Mirror, tmp_path: Path) -> None:
    seen: list[int] = []
    path = fetch_weights(SPEC, tmp_path, mirror.url, lambda had, _: seen.append(had))
    assert path.read_bytes() == WEIGHTS
    assert seen[-1] == len(mirror.body)
    assert {p.name for p in tmp_path.iterdir()} == {"scrfd_500m.onnx", ".scrfd_500m.lock"}
    fetch_weights(SPEC, tmp_path, mirror.url)
    assert len(mirror.asked) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_or_starts_over(mirror: Mirror, tmp_path: Path, ranges: bool) -> None:
    mirror.cut_after, mirror.ranges = 100_000, ranges
    with pytest.raises(ModelUnavailableError):
        fetch_weights(SPEC, tmp_path, mirror.url)
    assert fetch_weights(SPEC, tmp_path, mirror.url).read_bytes() == WEIGHTS
    assert mirror.asked == [None, "bytes=100000-"]


def test_other_weights_are_never_used(mirror: Mirror, tmp_path: Path) -> None:
    mirror.body = archive(b"evil" * 1000)
    with pytest.raises(ModelDigestError):
        fetch_weights(SPEC, tmp_path, mirror.url)
    assert not (tmp_path / "scrfd_500m.onnx").exists()
    mirror.body = b"no zip"
    with pytest.raises(ModelDigestError):
        fetch_weights(SPEC, tmp_path, mirror.url)


def test_without_a_network_it_says_which_file_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError) as error:
        fetch_weights(SPEC, tmp_path, "http://127.0.0.1:9")
    for part in (SPEC.sha256, str(tmp_path), "det.onnx", "face-api models fetch scrfd_500m"):
        assert part in str(error.value)


def test_a_missing_archive_is_said_so(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="404"):
        fetch_weights(replace(SPEC, archive="gone.zip"), tmp_path, mirror.url)


def test_a_local_file_is_taken_by_its_digest_only(tmp_path: Path) -> None:
    assert find_weights(SPEC, [tmp_path]) is None
    (tmp_path / "scrfd_500m.onnx").write_bytes(b"wrong")
    with pytest.raises(ModelDigestError, match="replace or remove"):
        find_weights(SPEC, [tmp_path])
    (tmp_path / "det.onnx").write_bytes(WEIGHTS)
    assert find_weights(SPEC, [tmp_path]) == tmp_path / "det.onnx"


@pytest.mark.shared
def test_random_weights_never_pass_as_scrfd_10g(shared_dir: Path, tmp_path: Path) -> None:
    fake = shared_dir / "models" / "scrfd_10g_RANDOM_WEIGHTS.onnx"
    (tmp_path / "scrfd_10g.onnx").write_bytes(fake.read_bytes())
    with pytest.raises(ModelDigestError):
        find_weights(MODELS["scrfd_10g"], [tmp_path])


@pytest.mark.shared
def test_with_no_model_named_the_best_at_hand_is_taken_and_said(shared_dir: Path, tmp_path: Path) -> None:
    if (shared_dir / "models" / "scrfd_10g.onnx").exists():
        pytest.skip("the real scrfd_10g is here")
    resolved = resolve_model(ModelSource(None, (shared_dir / "models",), tmp_path, "http://127.0.0.1:9"))
    assert resolved.name == "scrfd_2.5g"
    assert "scrfd_10g" in resolved.notes[0]


def test_a_named_model_that_cannot_be_had_is_an_error(tmp_path: Path) -> None:
    for setting in ("scrfd_10g", "resnet", "missing.onnx"):
        with pytest.raises(ModelUnavailableError):
            resolve_model(ModelSource(setting, (), tmp_path, "http://127.0.0.1:9"))
