"""What the launcher does when Ray itself dies under it: it starts again, in the same process.

Ray restarts what runs on it, and its own two processes only with a Redis beside it. A driver that has lost
them is aborted a minute later and cannot connect anew, so the command begins from its first line.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn, Self

from serve_app import sweeper

POLL_S: Final = 0.5
VITAL: Final = ("gcs_server", "raylet")


class RayLostError(Exception):
    """Ray's own processes have ended; the message names which."""


class Agents:
    """Ray's agents, children of the raylet. They end with this process, and with this context.

    Left alone they outlive a killed raylet or launcher by more than half a minute, in which they try to tell
    the GCS of it.
    """

    def __init__(self) -> None:
        self._sweeper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def watch_over(self) -> None:
        """From now on; Ray has started."""
        command = [sys.executable, "-I", "-S", sweeper.__file__, *map(str, _agents())]
        self._sweeper = subprocess.Popen(  # noqa: S603 - our own command
            command, stdin=subprocess.PIPE, start_new_session=True
        )

    def __exit__(self, *_: object) -> None:
        if self._sweeper is not None:
            self._sweeper.communicate()


def _agents() -> list[int]:
    """Their process ids; none where the kernel does not tell a process's children."""
    raylet = _node().all_processes["raylet"][0].process.pid
    found = []
    for thread in Path(f"/proc/{raylet}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            children = [Path(f"/proc/{pid}") for pid in thread.read_text().split()]
            found += [int(child.name) for child in children if b"Agent" in _command(child)]
    return found


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def watch(stop: threading.Event) -> None:
    """Returns when `stop` is set.

    Raises:
        RayLostError: Ray ended before.
    """
    while not stop.wait(POLL_S):
        if (part := dead_part()) is not None:
            raise RayLostError(f"Ray's {part} has ended, and the service with it")


def dead_part() -> str | None:
    """The process of our Ray that has ended and that it cannot go on without."""
    dead = {kind for kind, _ in _node().dead_processes()}
    return next((kind for kind in VITAL if kind in dead), None)


def kill_rest() -> None:
    """End what is left of our Ray; replicas end when they see that."""
    _node().kill_all_processes(check_alive=False)


def become_anew(environment: Mapping[str, str]) -> NoReturn:
    """Run the command line of this process again, in its place: same process, same terminal.

    Args:
        environment: As the process found it.
    """
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not files
        with contextlib.suppress(OSError):
            os.set_inheritable(int(name), int(name) <= 2)  # Ray's own would stay open
    os.execve(sys.executable, sys.orig_argv, environment)  # noqa: S606 - no shell is meant


def _node() -> Any:  # noqa: ANN401 - Ray's type is private
    return import_module("ray._private.worker")._global_node
