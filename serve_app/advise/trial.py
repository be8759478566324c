"""A service of one's own on a free port, to be measured: nobody else's requests, no rate limits."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from models.errors import FaceError
from serve_app.settings import load_settings

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 45.0


class TrialError(FaceError):
    """The service did not start; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A running service."""

    url: str
    pid: int  # of `face-api serve`
    data_dir: Path
    log: Path


def trial_environment(data_dir: Path, port: int) -> dict[str, str]:
    """What makes a service ours alone; weights are still found where this process finds them."""
    settings = load_settings()
    folders = (*settings.model_source().folders, (settings.data_dir / "models").resolve())
    return {
        "FACE_API_DATA_DIR": str(data_dir),
        "FACE_API_HOST": "127.0.0.1",
        "FACE_API_METRICS_PORT": "0",
        "FACE_API_MODEL_DIRS": os.pathsep.join(map(str, folders)),
        "FACE_API_RATE_LIMIT_DETECT": "off",
        "FACE_API_RATE_LIMIT_LOGIN": "off",
        "FACE_API_RATE_LIMIT_MASK": "off",
        "PORT": str(port),
    }


def serve_command(config: Path | None) -> list[str]:
    """`face-api serve` with this Ray config, or the default one."""
    command = [sys.executable, "-m", "serve_app.cli", "serve"]
    return command if config is None else [*command, "--config", str(config.resolve())]


@contextmanager
def trial_service(folder: Path, variables: Mapping[str, str], config: Path | None = None) -> Iterator[Trial]:
    """A service that answers; stopped at the end as a service manager would.

    Args:
        folder: For its data and its log.
        variables: FACE_API_* settings besides those of this process's environment.
        config: Ray config; without one the default.

    Raises:
        TrialError: It did not start.
    """
    port, data_dir, log = free_port(), folder / "var", folder / "serve.log"
    environment = {**os.environ, **trial_environment(data_dir, port), **variables}
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            serve_command(config), env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process, log)
        yield Trial(url, process.pid, data_dir, log)
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str) -> bool:
    """Whether a GET of it is answered with 200."""
    try:
        return httpx.get(url, timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not answers(f"{url}/readyz"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise TrialError(f"the service did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.25)
