"""Who may run the server of a folder: one process, until that ends, and short commands in turn."""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, TypeVar

from serve_app.embedded.errors import EmbeddedError, FolderInUseError
from serve_app.embedded.supervisor import READY_TIMEOUT_S

POLL_S: Final = 0.1

T = TypeVar("T")


def lock_folder(folder: Path, what: str, way_out: str) -> IO[bytes]:
    """The lock of the folder, held until it is closed or this process ends.

    Raises:
        FolderInUseError: Another process has it; `what` it runs is in the message.
        EmbeddedError: The folder cannot be used.
    """
    lock = _open(folder, "lock", way_out)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise FolderInUseError(
            f"another face-api runs {what} in {folder}; stop it, or set FACE_API_DATA_DIR to another folder"
        ) from error
    return lock


@contextmanager
def turn(folder: Path, way_out: str) -> Iterator[None]:
    """Commands on one folder wait for each other, so that none stops the server another one uses."""
    with _open(folder, "turn", way_out) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start_or_join(start: Callable[[], T], join: Callable[[], T | None]) -> T:
    """What `start` gives; while another process has the folder, what `join` gives once it is not None.

    The lock is held while a server starts, runs and stops: wait until that one serves or is gone.
    """
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            return start()
        except FolderInUseError:
            joined = join()
            if joined is not None:
                return joined
            if time.monotonic() > deadline_s:
                raise
            time.sleep(POLL_S)


@contextmanager
def translated(folder: Path, way_out: str) -> Iterator[None]:
    """Say what an operator can do about a folder that cannot be used."""
    try:
        yield
    except OSError as error:
        raise EmbeddedError(
            f"{error.filename or folder} cannot be used ({error.strerror}); "
            f"set FACE_API_DATA_DIR to another folder, or {way_out}"
        ) from error


def _open(folder: Path, name: str, way_out: str) -> IO[bytes]:
    with translated(folder, way_out):
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / name).open("ab")
