"""The whole service over HTTP: `face-api serve`, Ray Serve, every stage a process of its own."""

import io
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from deployments.calls import SHARED_MEMORY
from tests.serving.conftest import Service, are_alike, descendants, lockers, start, stop, title
from tests.tiny_scrfd import write_tiny_scrfd

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
JPEG = {"Content-Type": "image/jpeg"}


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=92)
    return encoded


def scenes(astronaut: NDArray[np.uint8], count: int) -> list[bytes]:
    """Pictures of different sizes with a face (and a red block, for the stand-in) in different places."""
    pictures = []
    for index in range(count):
        height, width = 560 + 8 * (index % 9), 700 + 16 * (index % 7)
        scene = np.full((height, width, 3), 40 + index, np.uint8)
        x = (index * 23) % (width - 512)
        scene[: min(512, height), x : x + 512] = astronaut[: min(512, height)]
        scene[-40:, (index * 11) % 600 : (index * 11) % 600 + 40] = (255, 0, 0)
        pictures.append(jpeg(scene))
    return pictures


def without_times(answer: dict[str, Any]) -> dict[str, Any]:
    return {
        "image": answer["image"],
        "summary": answer["summary"],
        "thresholds": (answer["processing"]["confidence_threshold"], answer["processing"]["nms_threshold"]),
        "detections": answer["detections"],
    }


def rounded(answer: dict[str, Any]) -> list[tuple[float, ...]]:
    """Boxes to whole pixels, scores to 3 decimals: batches may differ in the last bit."""
    return [
        (*(round(v) for v in face["bbox"].values()), round(face["confidence"], 2))
        for face in answer["detections"]
    ]


def test_health_names_the_model_and_its_provider(client: httpx.Client) -> None:
    health = client.get("/health").json()
    assert health["status"] == "ok"
    assert health["provider"].startswith(("OpenVINO CPU ", "CUDA"))
    assert health["database_enabled"] is health["database_ready"] is True
    assert health["storage_enabled"] is health["storage_ready"] is True
    assert client.get("/livez").status_code == client.get("/readyz").status_code == 200


def test_64_concurrent_requests_get_their_own_answers(
    client: httpx.Client, astronaut: NDArray[np.uint8]
) -> None:
    pictures = scenes(astronaut, 64)
    queries = [{"confidence": 0.3 + 0.01 * (i % 30), "max_faces": i % 3} for i in range(64)]

    def detect(index: int) -> dict[str, Any]:
        answer = client.post("/api/v1/detect", content=pictures[index], params=queries[index], headers=JPEG)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    alone = [detect(i) for i in range(64)]
    with ThreadPoolExecutor(64) as pool:
        together = list(pool.map(detect, range(64)))
    assert any(answer["profiling"]["batch_size"] > 1 for answer in together)
    assert len({str(rounded(answer)) for answer in alone}) > 20
    for one, other in zip(alone, together, strict=True):
        assert rounded(one) == rounded(other)
        assert one["image"] == other["image"]
        assert one["processing"]["confidence_threshold"] == other["processing"]["confidence_threshold"]


def test_stage_times_add_up_to_no_more_than_the_total(
    client: httpx.Client, astronaut: NDArray[np.uint8]
) -> None:
    profile = client.post("/api/v1/detect", content=jpeg(astronaut), headers=JPEG).json()["profiling"]
    stages = [
        profile[f"{stage}_ms"]
        for stage in ("decode", "preprocess", "queue", "blob", "inference", "postprocess", "nms")
    ]
    assert all(value >= 0 for value in stages)
    assert sum(stages) <= profile["total_ms"]


def test_lossless_answers_differ_from_their_uploads_only_around_the_faces(
    client: httpx.Client, astronaut: NDArray[np.uint8]
) -> None:
    pictures = scenes(astronaut, 16)

    def mask(index: int) -> None:
        query = {"method": "solid", "lossless": True}
        answer = client.post("/api/v1/mask", content=pictures[index], params=query, headers=JPEG)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-lossless"] == "true"
        assert int(answer.headers["x-face-count"]) > 0
        before, after = simplejpeg.decode_jpeg(pictures[index]), simplejpeg.decode_jpeg(answer.content)
        assert before.shape == after.shape
        changed = (before != after).any(axis=2)
        assert 0.0 < changed.mean() < 0.25
        assert np.abs(before.astype(int) - after)[changed].mean() > 20

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(mask, range(16)))
    refused = client.post("/api/v1/mask?lossless=true", content=b"GIF89a" + bytes(40))
    assert refused.status_code == 415


def test_a_multipart_upload_is_masked_in_every_format(
    client: httpx.Client, astronaut: NDArray[np.uint8]
) -> None:
    for output in ("jpeg", "png", "webp"):
        answer = client.post(
            "/api/v1/mask",
            files={"image": ("a.jpg", jpeg(astronaut))},
            params={"format": output, "method": "solid"},
        )
        assert answer.status_code == 200
        assert answer.headers["content-type"] == f"image/{output}"
        with Image.open(io.BytesIO(answer.content)) as picture:
            assert picture.size == (512, 512)
        assert len(answer.headers.get_list("x-request-id")) == 1


@pytest.mark.shared
def test_t1_has_six_faces_and_none_once_masked(client: httpx.Client, shared_dir: Path) -> None:
    picture = (shared_dir / "data/photos/real/t1.jpg").read_bytes()
    found = client.post("/api/v1/detect", files={"image": picture}).json()
    assert found["summary"]["face_count"] == 6
    for method in ("gaussian", "pixelate", "solid"):
        masked = client.post("/api/v1/mask", files={"image": picture}, params={"method": method})
        assert masked.headers["x-face-count"] == "6"
        again = client.post("/api/v1/detect", files={"image": masked.content}).json()
        assert again["summary"]["face_count"] == 0, method


@pytest.mark.shared
def test_no_malformed_file_gets_a_5xx_or_costs_a_replica(
    client: httpx.Client, service: Service, shared_dir: Path
) -> None:
    files = [
        path
        for path in sorted((shared_dir / "data/bad_images").rglob("*"))
        if path.is_file() and path.name not in {"README.md", "MANIFEST.tsv"}
    ]
    replicas = stage_processes(service)
    before = memory_bytes(service)
    for path in files:
        data = path.read_bytes()
        for route in ("detect", "mask"):
            answer = client.post(f"/api/v1/{route}", files={"image": (path.name, data)}, timeout=20)
            assert answer.status_code < 500, f"{path.name}: {answer.status_code} {answer.text}"
            if answer.status_code >= 400:
                assert set(answer.json()) == {"detail"}, path.name
    assert stage_processes(service) == replicas
    assert memory_bytes(service) - before < 600 * 2**20
    assert client.get("/readyz").status_code == 200


def test_a_killed_replica_comes_back_and_nothing_unmasked_leaves(
    client: httpx.Client, service: Service, astronaut: NDArray[np.uint8]
) -> None:
    picture = jpeg(astronaut)
    expected = client.post("/api/v1/mask", content=picture, headers=JPEG).content
    masker = next(p for p in descendants(service) if "Masker" in title(p))
    os.kill(masker.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while True:
        answer = client.post("/api/v1/mask", content=picture, headers=JPEG)
        if answer.status_code == 200:
            assert are_alike(answer.content, expected)
            break
        assert answer.status_code in {503, 504}
        assert set(answer.json()) == {"detail"}
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_only_the_api_listens_beyond_this_machine(service: Service) -> None:
    public = {
        c.laddr.port
        for process in [psutil.Process(service.process.pid), *descendants(service)]
        for c in process.net_connections("tcp")
        if c.status == psutil.CONN_LISTEN and c.laddr.ip not in {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    }
    assert public == {int(service.url.rsplit(":", 1)[1])}


def test_shared_memory_is_empty_when_nothing_is_in_flight(service: Service) -> None:
    deadline = time.monotonic() + 10
    while lockers(service) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert lockers(service) == []


def test_a_signal_ends_everything_within_ten_seconds_and_kill_9_hinders_no_start(tmp_path: Path) -> None:
    model = str(write_tiny_scrfd(tmp_path / "tiny.onnx"))
    first = start(tmp_path, FACE_API_MODEL=model)
    replicas = [p for p in descendants(first) if "ServeReplica" in title(p)]
    first.process.kill()
    first.process.wait()
    _, alive = psutil.wait_procs(replicas, timeout=20)
    assert len(replicas) == 6
    assert not alive
    second = start(tmp_path, FACE_API_MODEL=model, PORT=first.url.rsplit(":", 1)[1])
    children = descendants(second)
    sockets = [c.laddr for child in children for c in child.net_connections("unix")]
    folders = {Path(path).parent for path in sockets if path.startswith(f"{SHARED_MEMORY}/face-api.")}
    assert len(folders) == 1
    assert stop(second, signal.SIGTERM) < 10
    assert second.process.returncode == 0
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    assert not any(folder.exists() for folder in folders)


def test_a_taken_port_is_one_sentence(service: Service, tmp_path: Path) -> None:
    port = service.url.rsplit(":", 1)[1]
    done = subprocess.run(
        [str(Path(os.sys.executable).parent / "face-api"), "serve"],
        env={**os.environ, "PORT": port, "FACE_API_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def stage_processes(service: Service) -> set[int]:
    return {p.pid for p in descendants(service) if "ServeReplica" in title(p)}


def memory_bytes(service: Service) -> int:
    return sum(p.memory_info().rss for p in descendants(service) if "ServeReplica" in title(p))
