"""One real service for these tests: `face-api serve` as a user starts it, on a free port."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import simplejpeg

from tests.conftest import SHARED_DIR
from tests.tiny_scrfd import write_tiny_scrfd

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Service:
    process: subprocess.Popen[bytes]
    url: str
    log: Path
    data_dir: Path

    @property
    def credentials(self) -> dict[str, str]:
        """What the first start with the embedded PostgreSQL wrote."""
        credentials: dict[str, str] = json.loads((self.data_dir / "credentials.json").read_text())
        return credentials

    @property
    def api_key(self) -> str:
        return self.credentials["api_key"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(folder: Path, config: Path | None = None, code: Path = PROJECT, **variables: str) -> Service:
    port = free_port()
    log = folder / "serve.log"
    command = [sys.executable, "-m", "serve_app.cli", "serve"]
    if config is not None:
        command += ["--config", str(config)]
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("FACE_API_", "RAY_"))},
        "PORT": str(port),
        "FACE_API_DATA_DIR": str(folder / "var"),
        "PYTHONPATH": str(code),
        "FACE_API_METRICS_PORT": "0",
        "FACE_API_RATE_LIMIT_DETECT": "off",
        "FACE_API_RATE_LIMIT_MASK": "off",
        **variables,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=code, env=environment, stdout=output, stderr=output)
    service = Service(process, f"http://127.0.0.1:{environment['PORT']}", log, folder / "var")
    deadline = time.monotonic() + 300
    while b"Ctrl-C stops it" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the service did not start:\n{log.read_text()}")
        time.sleep(0.2)
    return service


def stop(service: Service, number: signal.Signals = signal.SIGINT) -> float:
    """Ctrl-C, or what a service manager sends; seconds until the process was gone."""
    started = time.monotonic()
    service.process.send_signal(number)
    service.process.wait(30)
    return time.monotonic() - started


def descendants(service: Service) -> list[psutil.Process]:
    return psutil.Process(service.process.pid).children(recursive=True)


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def lockers(service: Service) -> list[str]:
    """The memory that pictures cross processes in, as every process of the service holds it."""
    found: list[str] = []
    for process in descendants(service):
        with contextlib.suppress(FileNotFoundError):  # the process has ended
            for link in (Path("/proc") / str(process.pid) / "fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                    found.append(str(link.readlink()))
    return [name for name in found if "memfd:face-api" in name]


def are_alike(one: bytes, other: bytes) -> bool:
    """Whether two masked JPEGs are of the same picture: the noise over faces is another one each time."""
    a, b = (simplejpeg.decode_jpeg(data).astype(int) for data in (one, other))
    return a.shape == b.shape and float(np.abs(a - b).mean()) < 2


def write_batching_config(folder: Path) -> Path:
    """The local config, with batches of up to 8."""
    text = (PROJECT / "configs" / "local.yaml").read_text()
    text = text.replace("max_batch_size: 1 ", "max_batch_size: 8 ")
    text = text.replace("batch_wait_timeout_s: 0.0", "batch_wait_timeout_s: 0.01")
    assert "max_batch_size: 8" in text
    path = folder / "batching.yaml"
    path.write_text(text)
    return path


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Runs the real 500m weights where they are, else the tiny stand-in."""
    folder = tmp_path_factory.mktemp("service")
    weights = SHARED_DIR / "models"
    if weights.is_dir():
        variables = {"FACE_API_MODEL": "scrfd_500m", "FACE_API_MODEL_DIRS": str(weights)}
    else:
        variables = {"FACE_API_MODEL": str(write_tiny_scrfd(folder / "tiny.onnx"))}
    config = write_batching_config(folder)
    running = start(folder, config, FACE_API_STORAGE_ENABLED="true", **variables)
    yield running
    stop(running)


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": service.api_key}
    with httpx.Client(base_url=service.url, timeout=60, headers=headers) as http:
        yield http
