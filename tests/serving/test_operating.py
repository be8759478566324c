"""What an operator does to a running service, under load: no request is lost."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import psutil
import pytest
import simplejpeg
import yaml
from numpy.typing import NDArray

from tests.serving.conftest import PROJECT, Service, descendants, start, title
from tests.tiny_scrfd import write_tiny_scrfd

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
JPEG = {"Content-Type": "image/jpeg"}
ENOUGH = 40
"""Answers on each kind of connection that a change must be seen by."""


@dataclass
class Load:
    """Clients on kept and on new connections, until the block ends."""

    service: Service
    picture: bytes
    statuses: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for kind in ("kept", "kept", "kept", "new"):
            self.threads.append(threading.Thread(target=self._run, args=(kind,)))
        for thread in self.threads:
            thread.start()
        self.wait_for(ENOUGH)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.wait_for(ENOUGH)
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        """Until each kind of connection had so many more answers."""
        wanted = {kind: self.statuses[kind] + more for kind in ("kept", "new")}
        while any(self.statuses[kind] < count for kind, count in wanted.items()) and not self.failures:
            time.sleep(0.05)

    def _run(self, kind: str) -> None:
        limits = httpx.Limits(max_keepalive_connections=1 if kind == "kept" else 0)
        headers = {"X-API-Key": self.service.api_key, **JPEG}
        with httpx.Client(base_url=self.service.url, timeout=60, limits=limits, headers=headers) as http:
            for count in range(10**9):
                if self.ended.is_set():
                    return
                route = ("detect", "mask")[count % 2]
                try:
                    answer = http.post(f"/api/v1/{route}", content=self.picture)
                except httpx.HTTPError as error:
                    self.failures.append(f"{kind} {type(error).__name__}: {error}")
                    continue
                self.statuses[kind] += 1
                if answer.status_code != 200:
                    self.failures.append(f"{kind} {answer.status_code} {answer.text}")


@dataclass(frozen=True)
class Operated:
    """A service that runs a copy of the code, and its config."""

    service: Service
    code: Path
    config: Path

    def change(self, **deployments: dict[str, Any]) -> None:
        """Write options of deployments into the config."""
        config = yaml.safe_load(self.config.read_text())
        for deployment in config["applications"][0]["deployments"]:
            deployment.update(deployments.get(deployment["name"], {}))
        self.config.write_text(yaml.safe_dump(config))

    def deploy(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "serve_app.cli", "deploy", str(self.config), *options],
            cwd=self.code,
            env={**os.environ, "FACE_API_DATA_DIR": str(self.service.data_dir)},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    def replicas(self, stage: str) -> set[int]:
        titles = {process.pid: title(process) for process in descendants(self.service)}
        return {pid for pid, name in titles.items() if f":{stage}" in name and "ServeReplica" in name}


@pytest.fixture(scope="module")
def picture(astronaut: NDArray[np.uint8]) -> bytes:
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(astronaut), quality=90)
    return encoded


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    folder = tmp_path_factory.mktemp("operated")
    code = folder / "code"
    for name in ("serve_app", "deployments", "models"):
        shutil.copytree(PROJECT / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
    config = folder / "config.yaml"
    shutil.copy(PROJECT / "configs" / "local.yaml", config)
    model = str(write_tiny_scrfd(folder / "tiny.onnx"))
    service = start(
        folder,
        config,
        code=code,
        FACE_API_MODEL=model,
        FACE_API_MAX_IN_FLIGHT="64",
        FACE_API_REQUEST_TIMEOUT_S="60",
    )
    yield Operated(service, code, config)
    if service.process.poll() is None:
        service.process.terminate()
        service.process.wait(60)


def test_replicas_and_batches_change_under_load_without_a_failed_request(
    operated: Operated, picture: bytes
) -> None:
    before = operated.replicas("Detector")
    with Load(operated.service, picture) as load:
        batches = {"max_batch_size": 8, "batch_wait_timeout_s": 0.002}
        operated.change(Decoder={"num_replicas": 2}, Detector={"user_config": batches})
        assert operated.deploy().returncode == 0
        load.wait_for(ENOUGH)
        assert len(operated.replicas("Decoder")) == 2
        assert operated.replicas("Detector") == before
        operated.change(Decoder={"num_replicas": 1}, Ingress={"num_replicas": 2})
        assert operated.deploy().returncode == 0
        assert len(operated.replicas("Decoder")) == 1
        load.wait_for(ENOUGH)
        operated.change(Ingress={"num_replicas": 1})
        assert operated.deploy().returncode == 0
    assert load.failures == []
    assert len(operated.replicas("Ingress")) == 1


def test_a_new_version_of_the_code_comes_under_load_without_a_failed_request(
    operated: Operated, picture: bytes
) -> None:
    health = operated.code / "serve_app" / "routers" / "health.py"
    text = health.read_text()
    new = text.replace("""b'{"status":"ok"}'""", """b'{"status":"ok","release":2}'""")
    assert new != text
    before = {stage: operated.replicas(stage) for stage in ("Ingress", "Decoder", "Detector", "Masker")}
    assert "release" not in httpx.get(f"{operated.service.url}/livez").json()
    with Load(operated.service, picture) as load:
        health.write_text(new)
        done = operated.deploy("--restart")
        assert done.returncode == 0, done.stderr
    assert load.failures == []
    assert httpx.get(f"{operated.service.url}/livez").json()["release"] == 2
    for stage, pids in before.items():
        assert len(operated.replicas(stage)) == 1
        assert not operated.replicas(stage) & pids


def test_a_config_that_cannot_run_changes_nothing(operated: Operated, picture: bytes) -> None:
    good = operated.config.read_text()
    before = operated.replicas("Detector")
    with Load(operated.service, picture) as load:
        operated.config.write_text(good.replace("args: {}", "args: {provider: cuba}"))
        done = operated.deploy()
        assert (done.returncode, "FACE_API_PROVIDER" in done.stderr) == (1, True)
        operated.config.write_text(good.replace("name: Masker", "name: Mascara"))
        done = operated.deploy()
        assert (done.returncode, "Mascara" in done.stderr) == (1, True)
        assert "Traceback" not in done.stderr
    operated.config.write_text(good)
    assert operated.deploy().returncode == 0
    assert load.failures == []
    assert operated.replicas("Detector") == before


def test_without_a_service_deploy_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "serve_app.cli", "deploy", str(PROJECT / "configs" / "local.yaml")],
        env={**os.environ, "FACE_API_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "no service" in done.stderr


def test_a_signal_under_load_loses_nothing_that_was_accepted(operated: Operated, picture: bytes) -> None:
    """Runs last: it ends the service."""
    children = descendants(operated.service)
    with Load(operated.service, picture) as load:
        load.wait_for(ENOUGH)
        operated.service.process.send_signal(signal.SIGTERM)
        while operated.replicas("Ingress"):
            time.sleep(0.05)
    assert operated.service.process.wait(70) == 0
    refused = [failure for failure in load.failures if "ConnectError" in failure]
    assert refused == load.failures
    assert refused
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
