"""The load generator: wrk, in C, with one thread and connections that stay open."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.compare.upload import Upload

SCRIPT = Path(__file__).with_name("post.lua")
ANSWER_TIMEOUT_S = 120
MISSING = "the load generator wrk is missing; install it: sudo apt-get install wrk"


@dataclass(frozen=True, slots=True)
class Driven:
    """What wrk saw in one round. Requests under way when it ended are not counted."""

    answers: int  # of status 200 to 399
    failures: int  # of status 400 and above, and connections that broke or timed out
    seconds: float
    p50_ms: float
    p99_ms: float


class Wrk:
    """Sends one and the same request."""

    def __init__(self, body_file: Path, content_type: str) -> None:
        self._body_file = body_file
        self._content_type = content_type

    def drive(self, url: str, connections: int, seconds: int) -> Driven:
        """Closed loop: each connection sends its next request when it has its answer."""
        command = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds}s"]
        command += [f"--timeout={ANSWER_TIMEOUT_S}s", f"--script={SCRIPT}", url, "--"]
        command += [str(self._body_file), self._content_type]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if ended.returncode != 0:
            raise SystemExit(f"wrk failed: {(ended.stderr or ended.stdout).strip()}")
        return parse(ended.stdout)


@contextmanager
def wrk_for(upload: Upload) -> Iterator[Wrk]:
    """A load generator for this request; SystemExit when wrk is not installed."""
    if shutil.which("wrk") is None:
        raise SystemExit(MISSING)
    with tempfile.NamedTemporaryFile(prefix="upload-") as file:
        file.write(upload.body)
        file.flush()
        yield Wrk(Path(file.name), upload.content_type)


def parse(output: str) -> Driven:
    """The last line of wrk's output is what `post.lua` says; ValueError when it is not."""
    lines = output.strip().splitlines()
    said = json.loads(lines[-1]) if lines else None
    if not isinstance(said, dict):
        raise ValueError(f"wrk said nothing that can be read: {output!r}")
    return Driven(
        answers=said["requests"] - said["refused"],
        failures=said["refused"] + said["lost"],
        seconds=said["duration_us"] / 1e6,
        p50_ms=said["p50_us"] / 1e3,
        p99_ms=said["p99_us"] / 1e3,
    )
