"""The servers that are compared: each started as its user would start it, and gone at the end."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx

from loadtests.compare.processes import ProcessTree
from loadtests.upload import Upload
from models.errors import ModelError
from models.resolve import resolve_model
from serve_app.advise.trial import answers, free_port, serve_command, trial_environment
from serve_app.settings import load_settings

PROJECT = Path(__file__).parents[2]
OURS = "ours"
THEIRS = ("uvicorn", "litserve")
START_TIMEOUT_S = 150.0
STOP_TIMEOUT_S = {"ours": 45.0, "uvicorn": 10.0, "litserve": 10.0}
LITSERVE_MISSING = (
    "LitServe is left out: it cannot be imported here; add it with: "
    f"{sys.executable} -m pip install litserve python-multipart"
)


@dataclass(frozen=True, slots=True)
class Server:
    """One running server."""

    name: str
    base_url: str
    tree: ProcessTree

    def url(self, route: str) -> str:
        """Where a route (`detect`, `mask`) answers."""
        prefix = "/api/v1" if self.name == OURS else ""
        return f"{self.base_url}{prefix}/{route}"

    def idle_cores(self, seconds: float) -> float:
        """Processor time a second while nobody asks for anything."""
        before = self.tree.cpu_s()
        time.sleep(seconds)
        return (self.tree.cpu_s() - before) / seconds

    def check(self, route: str, upload: Upload) -> str:
        """Ask once; what came back in words. SystemExit when it is not what is to be measured."""
        headers = {"Content-Type": upload.content_type}
        answer = httpx.post(self.url(route), content=upload.body, headers=headers, timeout=120)
        if answer.status_code != 200:
            raise SystemExit(f"{self.name} answers /{route} with {answer.status_code}: {answer.text[:200]}")
        if route == "mask":
            if not answer.content.startswith(b"\xff\xd8"):
                raise SystemExit(
                    f"{self.name} answers /mask with {answer.headers['content-type']}, not a JPEG"
                )
            return f"{len(answer.content) / 1e3:.0f} kB"
        said = answer.json()
        return f"{len(said['detections'] if self.name == OURS else said['boxes'])} faces"


def available(names: list[str]) -> list[str]:
    """Those that can be started here; says which cannot."""
    if "litserve" in names and find_spec("litserve") is None:
        print(LITSERVE_MISSING, file=sys.stderr)
        return [name for name in names if name != "litserve"]
    return names


def weights_of(model: str) -> Path:
    """The file of a published model's weights, or the named .onnx file."""
    try:
        return resolve_model(load_settings(model=model).model_source()).path
    except ModelError as error:
        raise SystemExit(str(error)) from error


@dataclass(frozen=True, slots=True)
class Launch:
    """How the servers are scaled. Ours takes FACE_API_THREADS from the environment."""

    cores: int  # workers of the others
    threads: int  # of one inference of the others
    pool: int  # threads of FastAPI's pool in each uvicorn worker
    config: Path | None  # Ray config of ours; the default one without
    ranges: Sequence[Path] = ()  # activation ranges of models that come without


@contextmanager
def running(name: str, model: str, launch: Launch) -> Iterator[Server]:
    """A server that answers, on a free port.

    Args:
        name: `ours`, `uvicorn` or `litserve`.
        model: A published model's name or an .onnx file.
        launch: How it is scaled.
    """
    with tempfile.TemporaryDirectory(prefix="compare-", ignore_cleanup_errors=True) as temporary:
        folder, port = Path(temporary), free_port()
        if name == OURS:
            keep_ranges(launch.ranges, folder / "var")
            command, environment = _ours(model, port, folder, launch.config)
        else:
            command, environment = _theirs(name, model, port, launch)
        log = folder / "server.log"
        with log.open("wb") as output:
            tree = ProcessTree(command, environment, output, PROJECT)
        try:
            server = Server(name, f"http://127.0.0.1:{port}", tree)
            _wait_until_ready(server, log)
            yield server
        finally:
            tree.stop(STOP_TIMEOUT_S[name])


def keep_ranges(files: Sequence[Path], data_dir: Path) -> None:
    """Put activation ranges where a service with this data folder finds them."""
    (data_dir / "ranges").mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, data_dir / "ranges" / file.name)


def _ours(model: str, port: int, folder: Path, config: Path | None) -> tuple[list[str], dict[str, str]]:
    """`face-api serve`; other FACE_API_* variables of the environment hold."""
    return serve_command(config), {
        "FACE_API_DATABASE_URL": "off",
        **os.environ,
        **trial_environment(folder / "var", port),
        "FACE_API_API_KEY_ENABLED": "false",
        "FACE_API_MODEL": absolute(model),
        "FACE_API_STORAGE_ENABLED": "false",
    }


def _theirs(name: str, model: str, port: int, launch: Launch) -> tuple[list[str], dict[str, str]]:
    environment = {
        **os.environ,
        "BASELINE_MODEL": str(weights_of(model)),
        "BASELINE_THREADS": str(launch.threads),
        "BASELINE_POOL": str(launch.pool),
    }
    if name == "litserve":
        command = [sys.executable, "-m", "loadtests.compare.litserve_baseline"]
        return [*command, "--port", str(port), "--workers", str(launch.cores)], environment
    command = [sys.executable, "-m", "uvicorn", "--factory", "loadtests.compare.baseline:create_app"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", str(launch.cores)]
    return [*command, "--no-access-log", "--log-level", "warning"], environment


def absolute(model: str) -> str:
    """A file's path from anywhere; a published model's name as it is."""
    return str(Path(model).resolve()) if model.endswith(".onnx") else model


def _wait_until_ready(server: Server, log: Path) -> None:
    """Until it answers and, once all its workers are up, has nothing left to do."""
    path = "/readyz" if server.name == OURS else "/health"
    deadline = time.monotonic() + START_TIMEOUT_S
    while not answers(server.base_url + path):
        if server.tree.process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{server.name} did not start:\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.25)
    server.tree.settle()
