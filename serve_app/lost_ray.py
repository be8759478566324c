"""What the launcher does when Ray itself dies under it: it starts again, in the same process.

Ray restarts what runs on it, and its own two processes only with a Redis beside it. A driver that has lost
them is aborted a minute later and cannot connect anew, so the command begins from its first line.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, NoReturn

POLL_S: Final = 0.5
VITAL: Final = ("gcs_server", "raylet")


class RayLostError(Exception):
    """Ray's own processes have ended; the message names which."""


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
