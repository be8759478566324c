"""The server process of a data folder, found by postmaster.pid and believed only after a second look."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serve_app.embedded.errors import EmbeddedError

PID_FILE: Final = "postmaster.pid"
SOCKET: Final = ".s.PGSQL.5432"
STOP_STEPS: Final = ((signal.SIGINT, 5.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
"""Fast shutdown, immediate shutdown, and no longer asked; each with the seconds it is waited for."""


@dataclass(frozen=True, slots=True)
class PidFile:
    """What postmaster.pid says. It may be stale, and its process another one by now."""

    pid: int
    socket_folder: Path
    is_ready: bool  # accepts connections


def read_pid_file(data: Path) -> PidFile | None:
    """What the file says, None while it is missing or unfinished."""
    try:
        lines = (data / PID_FILE).read_text().splitlines()
        return PidFile(int(lines[0]), Path(lines[4]), lines[7].strip() == "ready")
    except (OSError, ValueError, IndexError):
        return None


def is_postgres(pid: int, data: Path) -> bool:
    """Whether the process serves this folder: the number may belong to another process by now."""
    import psutil  # noqa: PLC0415 - comes with the wheel

    try:
        process = psutil.Process(pid)
        return process.name() == "postgres" and Path(process.cwd()) == data
    except psutil.Error:
        return False


def end_leftover(data: Path, socket_folder: Path) -> None:
    """End the server of a launcher that is gone, and what a killed server left: processes and lock files.

    PostgreSQL does not start while a process of its user has the number in a lock file, while such a file is
    empty, or while a process uses the shared memory of an earlier server.

    Raises:
        EmbeddedError: A process does not end.
    """
    import psutil  # noqa: PLC0415 - comes with the wheel

    pid_file = data / PID_FILE
    first_line = pid_file.read_bytes().split(b"\n", 1)[0] if pid_file.exists() else b""
    pid = int(first_line) if first_line.isdigit() else 0
    for number, patience_s in STOP_STEPS:
        if _all_gone([pid], data, number, patience_s):
            break
    if not _all_gone(psutil.pids(), data, signal.SIGKILL, 5.0):
        raise EmbeddedError(f"processes of the PostgreSQL in {data} do not end; end them by hand")
    pid_file.unlink(missing_ok=True)
    (socket_folder / f"{SOCKET}.lock").unlink(missing_ok=True)


def _all_gone(pids: Iterable[int], data: Path, number: signal.Signals, patience_s: float) -> bool:
    """Whether those of the processes that serve this folder end in time after a signal."""
    serving = [pid for pid in pids if is_postgres(pid, data)]
    for pid in serving:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    deadline_s = time.monotonic() + patience_s
    while any(is_postgres(pid, data) for pid in serving):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True
