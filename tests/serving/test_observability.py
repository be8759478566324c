"""What a running service says of itself: metrics of two ingress replicas, traces, and its log."""

import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
import psutil
import pytest
import simplejpeg
from numpy.typing import NDArray

from deployments.tally import tally_folder
from loadtests.scrape import Scrape
from tests.conftest import SHARED_DIR
from tests.otlp_receiver import Receiver, otlp_receiver
from tests.serving.conftest import PROJECT, Service, descendants, free_port, start, stop
from tests.tiny_scrfd import write_tiny_scrfd

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
JPEG = {"Content-Type": "image/jpeg"}


@dataclass(frozen=True)
class Observed:
    service: Service
    metrics_port: int
    receiver: Receiver

    def scrape(self) -> Scrape:
        return Scrape.of(f"http://127.0.0.1:{self.metrics_port}/metrics")

    def client(self) -> httpx.Client:
        """One connection, so that requests spread over the ingress replicas."""
        return httpx.Client(base_url=self.service.url, timeout=60)

    @property
    def key(self) -> dict[str, str]:
        return {"X-API-Key": self.service.api_key}

    @property
    def admin(self) -> tuple[str, str]:
        return self.service.credentials["admin_user"], self.service.credentials["admin_password"]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    folder = tmp_path_factory.mktemp("observed")
    text = (PROJECT / "configs" / "local.yaml").read_text()
    config = folder / "two.yaml"
    config.write_text(text.replace("num_replicas: 1", "num_replicas: 2", 1))
    weights = SHARED_DIR / "models"
    port = free_port()
    with otlp_receiver() as receiver:
        running = start(
            folder,
            config,
            FACE_API_STORAGE_ENABLED="true",
            FACE_API_METRICS_PORT=str(port),
            FACE_API_MAX_UPLOAD_BYTES="300000",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_BSP_SCHEDULE_DELAY="200",
            FACE_API_MODEL="scrfd_500m" if weights.is_dir() else str(write_tiny_scrfd(folder / "tiny.onnx")),
            FACE_API_MODEL_DIRS=str(weights),
        )
        yield Observed(running, port, receiver)
        stop(running)
    assert not tally_folder(port).exists()


@pytest.fixture(scope="module")
def picture(astronaut: NDArray[np.uint8]) -> bytes:
    encoded: bytes = simplejpeg.encode_jpeg(astronaut, quality=92)
    return encoded


def answers(observed: Observed, picture: bytes, count: int) -> Counter[tuple[str, str]]:
    """Send `count` requests of each kind, on connections of their own; how many answers of each kind came."""

    def send(index: int) -> tuple[str, str]:
        with observed.client() as http:
            path, query, body, headers = (
                ("/api/v1/detect", "", picture, observed.key),
                ("/api/v1/mask", "", picture, observed.key),
                ("/api/v1/mask", "?store=none", picture, observed.key),
                ("/api/v1/detect", "", b"garbage", observed.key),
                ("/api/v1/detect", "?confidence=7", picture, observed.key),
                ("/api/v1/mask", "", picture, {"X-API-Key": "wrong"}),
                ("/api/v1/mask", "", b"x" * 300_001, observed.key),
            )[index % 7]
            answer = http.post(path + query, content=body, headers={**JPEG, **headers})
            return path, str(answer.status_code)

    with ThreadPoolExecutor(8) as pool:
        return Counter(pool.map(send, range(7 * count)))


def counted(now: Scrape) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for (name, labels), value in now.samples.items():
        its = dict(labels)
        if name == "face_api_requests_total" and its["route"].startswith("/api/") and value:
            kind = its["route"], its["status"]
            found[kind] = found.get(kind, 0.0) + value
    return found


def test_metrics_agree_exactly_with_what_clients_counted(observed: Observed, picture: bytes) -> None:
    before = observed.scrape()
    assert before.total("face_api_replicas", deployment="Ingress") == 2
    seen = answers(observed, picture, 12)
    after = observed.scrape()
    added = after.since(before)
    assert counted(added) == dict(seen)
    assert {status for _, status in seen} == {"200", "401", "413", "415", "422"}
    assert added.total("face_api_requests_total", reason="unauthorized") == seen["/api/v1/mask", "401"]
    ok = seen["/api/v1/detect", "200"] + seen["/api/v1/mask", "200"]
    assert ok == 36
    for route in ("detect", "mask"):
        path = f"/api/v1/{route}"
        name = "face_api_request_seconds_count"
        assert added.total(name, route=path, status_class="2xx") == seen[path, "200"]
    for stage in ("decode_queue", "decode", "preprocess", "queue", "inference", "postprocess", "total"):
        assert added.total("face_api_stage_seconds_count", stage=stage) == ok
    for stage in ("mask_queue", "mask", "encode"):
        assert added.total("face_api_stage_seconds_count", stage=stage) == seen["/api/v1/mask", "200"]
    stored = added.total("face_api_stored_total") + added.total("face_api_storage_failures_total")
    assert stored == added.total("face_api_stage_seconds_count", stage="storage") == 24
    assert after.total("face_api_requests_in_flight") == 0
    assert after.total("face_api_decoded_pixels_in_flight") == 0
    assert after.total("face_api_stage_in_flight") == 0
    assert after.total("face_api_model_info", model="scrfd_500m") == SHARED_DIR.is_dir()
    assert after.total("face_api_embedded_up", server="PostgreSQL") == 1


def test_counts_of_a_killed_ingress_replica_stay(observed: Observed, picture: bytes) -> None:
    before = counted(observed.scrape())
    victim = next(p for p in descendants(observed.service) if "Ingress" in " ".join(p.cmdline()))
    os.kill(victim.pid, signal.SIGKILL)
    psutil.wait_procs([victim], timeout=10)
    assert counted(observed.scrape()) == before
    deadline = time.monotonic() + 60
    while observed.scrape().total("face_api_replicas", deployment="Ingress") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    seen = answers(observed, picture, 4)
    after = counted(observed.scrape())
    assert {kind: after[kind] - before[kind] for kind in after} == dict(seen)


def test_a_request_is_one_trace_through_every_stage(observed: Observed, picture: bytes) -> None:
    trace_id, parent_id, request_id = uuid4().hex, "1234567890abcdef", str(uuid4())
    headers = {
        **JPEG,
        **observed.key,
        "X-Request-Id": request_id,
        "traceparent": f"00-{trace_id}-{parent_id}-01",
    }
    with observed.client() as http:
        assert http.post("/api/v1/mask", content=picture, headers=headers).status_code == 200
    stages = {
        "Decoder.decode": ("decode", "preprocess"),
        "Detector.detect": ("blob", "inference", "postprocess", "nms"),
        "Masker.mask": ("mask", "encode"),
    }
    parts = [part for names in stages.values() for part in names]
    spans = observed.receiver.of_trace(trace_id, "POST /api/v1/mask", "storage", *stages, *parts)
    request = spans["POST /api/v1/mask"]
    assert request.parent_id == parent_id
    assert request.attributes["face_api.request_id"] == request_id
    assert request.attributes["http.response.status_code"] == 200
    assert spans["storage"].parent_id == request.span_id
    for stage, names in stages.items():
        assert spans[stage].parent_id == request.span_id
        assert spans[stage].process.startswith(stage.partition(".")[0])
        assert request.began_ns <= spans[stage].began_ns <= spans[stage].ended_ns <= request.ended_ns
        for name in names:
            assert spans[name].parent_id == spans[stage].span_id
    line = next(line for line in log_lines(observed.service.log) if line.get("request_id") == request_id)
    assert line["trace_id"] == trace_id


def test_each_request_is_one_line_and_no_line_holds_a_secret(observed: Observed, picture: bytes) -> None:
    ids = [str(uuid4()) for _ in range(8)]
    user, password = observed.admin
    key = observed.service.api_key
    with observed.client() as http:
        sent = [
            http.post(
                "/api/v1/detect", content=picture, headers={**JPEG, **observed.key, "X-Request-Id": ids[0]}
            ),
            http.get(
                f"/api/v1/admin/api-keys/{key}", auth=(user, password), headers={"X-Request-Id": ids[1]}
            ),
            http.get(f"/{key}?key={key}", headers={"X-Request-Id": ids[2]}),
            http.post(
                "/api/v1/admin/auth/login",
                json={"username": user, "password": password},
                headers={"X-Request-Id": ids[3]},
            ),
            http.post(
                "/api/v1/admin/auth/login",
                json={"username": user, "password": "the wrong one"},
                headers={"X-Request-Id": ids[4]},
            ),
        ]
        cookie = sent[3].cookies["face_api_session"]
        image = sent[0].json()["image_id"]
        path = f"/api/v1/admin/images/{image}"
        sent += [
            http.get(path, headers={"X-Request-Id": ids[5]}),
            http.get(f"{path}/download", headers={"X-Request-Id": ids[6]}),
            http.get("/" + "x" * 5000, headers={"X-Request-Id": ids[7]}),
        ]
    assert [answer.status_code for answer in sent] == [200, 422, 404, 204, 401, 200, 302, 404]
    signature = re.findall("X-Amz-Signature=([0-9a-f]+)", sent[6].headers["location"])[0]
    s3_keys = json.loads((observed.service.data_dir / "objects" / "keys.json").read_text())
    deadline = time.monotonic() + 10
    while True:
        lines = {line["request_id"]: line for line in log_lines(observed.service.log) if "request_id" in line}
        if set(ids) <= lines.keys() or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    text = observed.service.log.read_text()
    for request_id, answer in zip(ids, sent, strict=True):
        assert text.count(f'"request_id": "{request_id}"') == 1
        assert lines[request_id]["status"] == answer.status_code
    assert lines[ids[0]]["key_id"]
    assert lines[ids[0]]["stages_ms"]["total"] >= lines[ids[0]]["stages_ms"]["inference"] > 0
    assert [lines[i].get("reason") for i in (ids[1], ids[2], ids[4])] == [
        "invalid_parameter",
        "no_such_path",
        "wrong_credentials",
    ]
    secrets = (
        key,
        password,
        "the wrong one",
        cookie,
        signature,
        s3_keys["secret_key"],
        s3_keys["access_key"],
    )
    assert [secret for secret in secrets if secret in text] == []


def log_lines(log: Path) -> list[dict[str, object]]:
    """Every line of the log that is not for the person at the terminal."""
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
