"""The embedded PostgreSQL as the launcher and short commands see it."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from serve_app.embedded.cluster import Cluster
from serve_app.embedded.errors import EmbeddedError, FolderInUseError
from serve_app.embedded.postmaster import end_leftover
from serve_app.embedded.supervisor import READY_TIMEOUT_S, Supervisor

POLL_S: Final = 0.1


class EmbeddedPostgres:
    """A PostgreSQL in a folder of ours, run as a child of this process on a unix socket.

    It ends with this process, however that ends (on Linux), and is started again when it dies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: IO[bytes] | None = None
        self._supervisor: Supervisor | None = None

    def start(self) -> str:
        """Start it, after making its data on first use; the URL of its database `face_api`.

        Raises:
            FolderInUseError: Another process runs the PostgreSQL of this folder.
            EmbeddedError: It cannot run; says what to do.
        """
        with _translated(self.folder):
            lock = _locked(self.folder)
        self._lock = lock
        try:
            with _translated(self.folder):
                cluster = Cluster.at(self.folder)
                end_leftover(cluster.data, cluster.socket_folder)
                cluster.prepare()
            self._supervisor = Supervisor(cluster)
            self._supervisor.start()
            return cluster.create_database()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it and wait for that. Nothing happens the second time."""
        if self._supervisor is not None:
            self._supervisor.stop()
            self._supervisor = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """URL of the PostgreSQL of a folder for a short command: the one that runs, else one for as long as this.

    Commands on one folder wait for each other, so that none stops the server another one uses.

    Raises:
        EmbeddedError: It cannot run; says what to do.
    """
    with _translated(folder):
        turn = _open(folder, "turn")
    with turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        postgres = EmbeddedPostgres(folder)
        url = _start_or_join(postgres)
        try:
            yield url
        finally:
            postgres.stop()


def _start_or_join(postgres: EmbeddedPostgres) -> str:
    """The lock is held while a server starts, runs and stops: wait until that one serves or is gone."""
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            return postgres.start()
        except FolderInUseError:
            url = Cluster.at(postgres.folder).serving_url()
            if url is not None:
                return url
            if time.monotonic() > deadline_s:
                raise
            time.sleep(POLL_S)


def _locked(folder: Path) -> IO[bytes]:
    """The lock of the folder, held until it is closed or this process ends."""
    lock = _open(folder, "lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise FolderInUseError(
            f"another face-api runs the database in {folder}; stop it, "
            "or set FACE_API_DATA_DIR to another folder"
        ) from error
    return lock


def _open(folder: Path, name: str) -> IO[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / name).open("ab")


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EmbeddedError(
            f"{error.filename or folder} cannot be used ({error.strerror}); "
            "set FACE_API_DATA_DIR to another folder, or FACE_API_DATABASE_URL to a server of yours"
        ) from error
