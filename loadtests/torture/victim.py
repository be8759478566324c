"""The service that is tortured: its processes by name, what they take, and what they leave behind."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import aiohttp
import httpx
import psutil

from deployments.calls import SHARED_MEMORY
from loadtests.apart import processes_of
from loadtests.scrape import Scrape
from loadtests.torture.promise import Finding
from loadtests.usage import deployment_of
from models.resolve import resolve_model
from serve_app.advise.trial import Trial, free_port, trial_service
from serve_app.embedded.credentials import Credentials, read_credentials
from serve_app.settings import load_settings

GONE_S: Final = 10.0
"""How long the last process may take to end once the launcher has."""
MEMFD: Final = "memfd:face-api"
CONTROLLER, GCS, RAYLET = "Serve controller", "Ray GCS", "raylet"
RAY_PARTS: Final = {"gcs_server": GCS, "raylet": RAYLET}
PARTS: Final = (
    "Ingress",
    "Decoder",
    "Detector",
    "Masker",
    "Limiter",
    "MaintenanceWorker",
    CONTROLLER,
    "PostgreSQL",
    "S3 server",
)


def part_of(title: str, name: str) -> str:
    """Which part of the service a process is.

    Args:
        title: Its command line; Ray puts what an actor is there.
        name: Of its program.
    """
    if "ServeController" in title:
        return CONTROLLER
    return RAY_PARTS.get(name) or deployment_of(title, name)


@dataclass
class Victim:
    """A running service."""

    trial: Trial
    credentials: Credentials
    metrics_port: int
    seen: set[psutil.Process] = field(default_factory=set)  # every process it ever had, as far as we looked
    files: set[Path] = field(default_factory=set)  # what they had in shared memory
    left_behind: list[str] = field(default_factory=list)  # known once it has stopped

    @property
    def url(self) -> str:
        """Of the API."""
        return self.trial.url

    @property
    def headers(self) -> dict[str, str]:
        """Of a request with the first key."""
        return {"X-API-Key": self.credentials.api_key}

    @property
    def admin_headers(self) -> dict[str, str]:
        """Of a request to the admin API."""
        known = self.credentials
        return {"Authorization": aiohttp.encode_basic_auth(known.admin_user, known.admin_password)}

    def processes(self) -> list[psutil.Process]:
        """The launcher and everything below it, now."""
        try:
            found = processes_of(self.trial.pid)
        except psutil.NoSuchProcess:
            return []
        self.seen.update(found)
        return found

    def part(self, name: str) -> list[psutil.Process]:
        """The processes of one part, the oldest first."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if part_of(" ".join(process.cmdline()), process.name()) == name:
                    found.append(process)
        return sorted(found, key=psutil.Process.create_time)

    def look(self) -> None:
        """Remember every process and its files in shared memory, for `left_behind`."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error, OSError):
                self.files |= _shared_files(process.pid)
                for connection in process.net_connections("unix"):
                    self.files |= _below_shared_memory(str(connection.laddr))

    def scrape(self) -> Scrape:
        """Its metrics."""
        return Scrape.of(f"http://127.0.0.1:{self.metrics_port}/metrics")

    def is_ready(self) -> bool:
        """Whether a picture went through every stage."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=15).status_code == 200
        except httpx.HTTPError:
            return False

    def locker_bytes(self) -> int:
        """Memory in which pictures cross processes; each piece is counted once, whoever holds it."""
        sizes: dict[int, int] = {}
        for process in self.processes():
            with contextlib.suppress(OSError):
                for link in Path(f"/proc/{process.pid}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        if MEMFD in str(link.readlink()):
                            status = link.stat()
                            sizes[status.st_ino] = status.st_blocks * 512
        return sum(sizes.values())

    def memory_bytes(self) -> int:
        """What the service takes: private pages, a share of common ones, and the lockers."""
        total = self.locker_bytes()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total

    def leaves_nothing(self) -> Finding:
        """Known once it has stopped."""
        return Finding(
            "nothing is left after its stop: no process, no port, nothing in /dev/shm",
            "; ".join(self.left_behind) or f"nothing of {len(self.seen)} processes",
            not self.left_behind and bool(self.seen),
        )


@contextmanager
def victim(folder: Path, config: Path | None = None, **variables: str) -> Iterator[Victim]:
    """A service with embedded PostgreSQL and S3 server, metrics, and no rate limits.

    Args:
        folder: For its data and its log; made where it is missing.
        config: Ray config; None: the default one.
        variables: FACE_API_* settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = int(variables.get("FACE_API_METRICS_PORT") or free_port())
    given: Mapping[str, str] = {
        "FACE_API_METRICS_PORT": str(port),
        "FACE_API_MODEL": variables.get("FACE_API_MODEL") or _model(),
        "FACE_API_STORAGE_ENABLED": "true",
        **variables,
    }
    with trial_service(folder, given, config) as trial:
        known = read_credentials(trial.data_dir / "credentials.json")
        if known is None:
            raise SystemExit("unset FACE_API_DATABASE_URL: what is tortured needs a database of its own")
        running = Victim(trial, known, port)
        running.look()
        try:
            yield running
        finally:
            running.look()
    running.left_behind += _left_behind(running)


def wait_until(is_so: Callable[[], bool], most_s: float) -> float | None:
    """Seconds until it was so; None when it never was."""
    began_s = time.monotonic()
    while not is_so():
        if time.monotonic() - began_s > most_s:
            return None
        time.sleep(0.1)
    return time.monotonic() - began_s


@cache
def _model() -> str:
    """The best at hand, found once: every service that is tortured has the same."""
    return resolve_model(load_settings().model_source()).setting


def _left_behind(running: Victim) -> list[str]:
    _, alive = psutil.wait_procs(running.seen, GONE_S)
    found = [f"process {process.pid} ({process.name()})" for process in alive]
    found += [f"port {port}" for port in (_port(running.url), running.metrics_port) if not _is_free(port)]
    return found + [str(path) for path in sorted(running.files) if path.exists()]


def _port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _shared_files(pid: int) -> set[Path]:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {path for line in lines for path in _below_shared_memory(line.split(maxsplit=5)[-1])}


def _below_shared_memory(name: str) -> set[Path]:
    """The entry of /dev/shm that a file lies in; none for one that has no name any more."""
    path = Path(name)
    if name.endswith("(deleted)") or not path.is_relative_to(SHARED_MEMORY):
        return set()
    return {SHARED_MEMORY / path.relative_to(SHARED_MEMORY).parts[0]}
