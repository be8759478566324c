"""The load generator: wrk, in C, with one thread and connections that stay open."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.upload import Upload

SCRIPT = Path(__file__).with_name("post.lua")
ANSWER_TIMEOUT_S = 120
MISSING = "the load generator wrk is missing; install it: sudo apt-get install wrk"


@dataclass(frozen=True, slots=True)
class Driven:
    """What wrk saw in one round. Requests under way when it ended are not counted."""

    answers: int  # of status 200 to 399
    sheds: int  # of status 429 and 503
    errors: int  # of any other status from 400, and connections that broke or timed out
    seconds: float
    percentiles_ms: dict[str, float]  # 50, 90, 99 and 99.9, of whatever was answered

    @property
    def failures(self) -> int:
        """Sheds and errors."""
        return self.sheds + self.errors

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.answers / self.seconds

    @property
    def p50_ms(self) -> float:
        """Median latency."""
        return self.percentiles_ms["50"]

    @property
    def p99_ms(self) -> float:
        """99th percentile of the latencies."""
        return self.percentiles_ms["99"]


class Wrk:
    """Sends the same uploads in turn."""

    def __init__(self, files: Sequence[Path], content_types: Sequence[str]) -> None:
        self._bodies = [str(part) for pair in zip(files, content_types, strict=True) for part in pair]

    def drive(
        self, url: str, connections: int, seconds: int, *, keep_alive: bool = True, api_key: str = ""
    ) -> Driven:
        """Closed loop: each connection sends its next request when it has its answer."""
        command = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds}s"]
        command += [f"--timeout={ANSWER_TIMEOUT_S}s", f"--script={SCRIPT}", url, "--"]
        command += ["keep" if keep_alive else "close", *self._bodies]
        environment = {**os.environ, **({"FACE_API_KEY": api_key} if api_key else {})}
        ended = subprocess.run(  # noqa: S603 - our own command
            command, capture_output=True, text=True, check=False, env=environment
        )
        if ended.returncode != 0:
            raise SystemExit(f"wrk failed: {(ended.stderr or ended.stdout).strip()}")
        return parse(ended.stdout)


@contextmanager
def wrk_for(*uploads: Upload) -> Iterator[Wrk]:
    """A load generator for these requests; SystemExit when wrk is not installed."""
    if shutil.which("wrk") is None:
        raise SystemExit(MISSING)
    with tempfile.TemporaryDirectory(prefix="uploads-") as folder:
        files = [Path(folder) / str(number) for number in range(len(uploads))]
        for file, upload in zip(files, uploads, strict=True):
            file.write_bytes(upload.body)
        yield Wrk(files, [upload.content_type for upload in uploads])


def parse(output: str) -> Driven:
    """The last line of wrk's output is what `post.lua` says; ValueError when it is not."""
    lines = output.strip().splitlines()
    said = json.loads(lines[-1]) if lines else None
    if not isinstance(said, dict):
        raise ValueError(f"wrk said nothing that can be read: {output!r}")
    return Driven(
        answers=said["requests"] - said["refused"],
        sheds=said["sheds"],
        errors=said["refused"] - said["sheds"] + said["lost"],
        seconds=said["duration_us"] / 1e6,
        percentiles_ms={percent: value / 1e3 for percent, value in said["percentiles_us"].items()},
    )
